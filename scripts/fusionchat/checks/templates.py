"""Chat templates that exist, and for training those that a model can learn from."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from fusionchat.checks.common import home
from fusionchat.errors import UserError
from fusionchat.models.tokenizer import has_template
from fusionchat.schema import Config


def faults(config: Config) -> Iterator[str]:
    """A tokenizer's own template is known only with the tokenizer; programs check it then."""
    yield from _missing(config)
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
            yield f"{key}template: {str(error).removeprefix('template ')}{home(entry['template'])}"


def _missing(config: Config) -> Iterator[str]:
    """Of a local folder it is known whether it holds the template that `tokenizer` means."""
    pivot = config["models"][config["pivot"]]
    read = [("", {**pivot, "template": config["template"]})]
    for key, entry in [*read, *_named(config, "models"), *_named(config, "comparisons")]:
        template = entry.get("template", config["template"])
        folder = Path(entry.get("path", ""))
        if template == "tokenizer" and "path" in entry and not has_template(folder):
            yield (
                f"{key}template: the tokenizer in {folder} has no chat template; name one of "
                "FastChat's or a Jinja file"
            )


def _named(config: Config, section: str) -> Iterator[tuple[str, Config]]:
    """The entries of a section with the beginning of their keys."""
    return ((f"{section}.{name}.", entry) for name, entry in config[section].items())
