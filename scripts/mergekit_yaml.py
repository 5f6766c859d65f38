"""mergekit-yaml with VaRM among the methods: `merge_method: varm` (fusionchat.merging.methods)."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.output_folder import output_folder
from fusionchat.readers.yaml import read_yaml


def main(argv: Sequence[str] | None = None) -> None:
    """Register VaRM, then do what mergekit-yaml does with these arguments.

    But the output appears whole or not at all, replaces only what this program made, and none of
    the models that the configuration names.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    files = [word for word in words if word.endswith((".yaml", ".yml"))]
    files += [word for word in words[:1] if Path(word).is_dir()]  # said before imports of seconds
    configs = {file: read_yaml(file) for file in files}
    from click import ClickException
    from click.exceptions import Exit
    from mergekit import card
    from mergekit.scripts.run_yaml import main as run_yaml
    from pydantic import ValidationError
    from yaml import YAMLError

    from fusionchat.merging.methods.mergekit_varm import register

    register()
    # For its card mergekit asks the hub about folders, too, and without a network all is lost.
    card.is_hf = lambda path: not Path(path).exists()
    try:
        models = [model for file, config in configs.items() for model in local_models(file, config)]
        with (
            run_yaml.make_context("mergekit_yaml", words.copy()) as context,
            output_folder(context.params["out_path"], "mergekit_yaml", models) as folder,
        ):
            context.params["out_path"] = str(folder)
            run_yaml.invoke(context)
    except Exit:  # behind --help
        return
    except ClickException as error:
        raise UserError(f"{error.format_message()} (see mergekit_yaml.py --help)") from error
    except (ValidationError, YAMLError) as error:
        file = next(word for word in words if not word.startswith("-"))
        raise UserError(f"{file} is no configuration of mergekit: {error}") from error


def local_models(file: str, config: dict[str, Any]) -> list[Path]:
    """The folders on this machine that a configuration merges; the others are names of a hub."""
    from mergekit.config import MergeConfiguration
    from pydantic import ValidationError

    try:
        models = MergeConfiguration.model_validate(config).referenced_models()
    except (ValidationError, RuntimeError) as error:
        raise UserError(f"{file} is no configuration of mergekit: {error}") from error
    parts = [part for model in models for part in (model.model, model.lora) if part]
    return [Path(part.path) for part in parts if Path(part.path).is_dir()]


if __name__ == "__main__":
    cli.run(main)
