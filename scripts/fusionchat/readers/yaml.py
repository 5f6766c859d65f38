"""YAML files whose top level is a mapping; what PyYAML would let pass is refused."""

import os
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from fusionchat.errors import UserError
from fusionchat.files import read_text

if TYPE_CHECKING:
    from yaml import MappingNode


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A YAML file with keys at its top level.

    Anything else is a `UserError` that names the file and the line, also what PyYAML takes: a key
    that stands twice (the last would win), a key that is no text, an empty file.
    """
    return parse_yaml(read_text(path), path)


def read_own_yaml(path: str | os.PathLike[str]) -> Any:
    """A YAML file of this package, known to be sound; LibYAML parses it ten times as fast."""
    import yaml

    return yaml.load(read_text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def parse_yaml(text: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping that a text of a file holds, such as the header of a model card."""
    import yaml

    try:
        content = yaml.load(text, _strict_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        hint = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        raise UserError(f"{where}: {error.problem or error.context}{hint}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        kind = "is empty" if content is None else f"holds a {type(content).__name__}"
        raise UserError(f"{path} {kind}; it must have keys at its top level (`key: value`)")
    return content


def line_of(path: str | os.PathLike[str], key: Sequence[str]) -> tuple[int, int]:
    """How many parts of a nested key a YAML file has, and the line of the last of them."""
    import yaml

    node, depth, line = yaml.compose(read_text(path), yaml.SafeLoader), 0, 1
    while depth < len(key) and isinstance(node, yaml.MappingNode):
        place = next((pair for pair in node.value if pair[0].value == key[depth]), None)
        if place is None:
            break
        node, depth, line = place[1], depth + 1, place[0].start_mark.line + 1
    return depth, line


def refuse_broken(arguments: Sequence[str]) -> None:
    """End a snakemake whose `--configfile` names a file that is none, in one line."""
    files: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("-"):
            option, _, argument = argument.partition("=")
        if option in ("--configfile", "--configfiles") and argument:
            files.append(argument)
    try:
        for file in files:
            read_yaml(file)
    except UserError as error:
        raise SystemExit(f"error: --configfile {error}") from None


def _strict_loader() -> type:
    """PyYAML's safe loader that refuses keys given twice and keys that are no text."""
    import yaml

    class StrictLoader(yaml.SafeLoader):
        def construct_mapping(self, node: "MappingNode", deep: bool = False) -> dict[Hashable, Any]:
            seen: dict[Any, int] = {}
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                name, line = self.construct_object(key, deep=True), key.start_mark.line + 1
                if not isinstance(name, str):
                    problem = f"the key {key.value!r} is no text; put it in quotes"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                if name in seen:
                    problem = f"the key {name!r} is there already, in line {seen[name]}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen[name] = line
            return super().construct_mapping(node, deep)

    return StrictLoader
