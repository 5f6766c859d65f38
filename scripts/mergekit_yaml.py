"""mergekit-yaml with VaRM among the methods: `merge_method: varm` (fusionchat.merging.methods)."""

import sys
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.readers.yaml import read_yaml


def main(argv: Sequence[str] | None = None) -> None:
    """Register VaRM, then do what mergekit-yaml does with these arguments."""
    words = sys.argv[1:] if argv is None else list(argv)
    for word in words:
        if word.endswith((".yaml", ".yml")):
            read_yaml(word)  # before mergekit's slow import
    from click import ClickException
    from mergekit.scripts.run_yaml import main as run_yaml
    from pydantic import ValidationError
    from yaml import YAMLError

    from fusionchat.merging.methods.mergekit_varm import register

    register()
    try:
        run_yaml(words, standalone_mode=False)
    except ClickException as error:
        raise UserError(f"{error.format_message()} (see mergekit_yaml.py --help)") from error
    except (ValidationError, YAMLError) as error:
        file = next(word for word in words if not word.startswith("-"))
        raise UserError(f"{file} is no configuration of mergekit: {error}") from error


if __name__ == "__main__":
    cli.run(main)
