"""mergekit-yaml with VaRM among the methods: `merge_method: varm` (fusionchat.merging.methods)."""

import sys
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.output_folder import output_folder
from fusionchat.readers.yaml import read_yaml


def main(argv: Sequence[str] | None = None) -> None:
    """Register VaRM, then do what mergekit-yaml does with these arguments.

    But the output appears whole or not at all, and replaces only what this program made.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    for word in words:
        if word.endswith((".yaml", ".yml")):
            read_yaml(word)  # before mergekit's slow import
    from click import ClickException
    from click.exceptions import Exit
    from mergekit.scripts.run_yaml import main as run_yaml
    from pydantic import ValidationError
    from yaml import YAMLError

    from fusionchat.merging.methods.mergekit_varm import register

    register()
    try:
        with (
            run_yaml.make_context("mergekit_yaml", words.copy()) as context,
            output_folder(context.params["out_path"], "mergekit_yaml") as folder,
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


if __name__ == "__main__":
    cli.run(main)
