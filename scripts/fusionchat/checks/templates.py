"""Chat templates that exist, and for training those that a model can learn from."""

from collections.abc import Iterator
from importlib.util import find_spec

from fusionchat.errors import UserError
from fusionchat.schema import Config


def faults(config: Config) -> Iterator[str]:
    """A tokenizer's own template is known only with the tokenizer; programs check it then."""
    if not (find_spec("fastchat") and find_spec("jinja2")):
        return  # an environment in which nothing is rendered
    from fusionchat.dialogues import templates

    for key, entry in [("", config), *_named(config, "models"), *_named(config, "comparisons")]:
        if entry.get("template", templates.TOKENIZER) == templates.TOKENIZER:
            continue
        check = templates.check_answering if key else templates.check_template
        try:
            check(templates.open_template(entry["template"]), "system_message" in entry)
        except UserError as error:
            yield f"{key}template: {str(error).removeprefix('template ')}"


def _named(config: Config, section: str) -> Iterator[tuple[str, Config]]:
    """The entries of a section with the beginning of their keys."""
    return ((f"{section}.{name}.", entry) for name, entry in config[section].items())
