"""mergekit-yaml with VaRM among the methods: `merge_method: varm` (fusionchat.merging.methods)."""

from collections.abc import Sequence

from fusionchat import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Register VaRM, then do what mergekit-yaml does with these arguments."""
    from mergekit.scripts.run_yaml import main as run_yaml

    from fusionchat.merging.methods.mergekit_varm import register

    register()
    run_yaml(argv)


if __name__ == "__main__":
    cli.run(main)
