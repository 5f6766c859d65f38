"""YAML files whose top level is a mapping; what PyYAML would let pass is refused."""

import os
import re
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from fusionchat.errors import UserError
from fusionchat.files import read_text

if TYPE_CHECKING:
    from yaml import Event, MappingNode, Node, ScalarNode
    from yaml.error import MarkedYAMLError

REMEDIES = {
    "could not find expected ':'": "; write `key: value`, with a space behind the colon",
    "mapping values are not allowed here": "; indent keys alike, with `: ` behind each",
    "found unexpected end of stream": "; a quotation mark that opens here is not closed",
}
OTHER_BASE = re.compile(r"[+-]?(0[0-7_]+|[0-9_]+(:[0-9_.]+)+)")  # 8 and 60, to YAML 1.1


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A YAML file with keys at its top level.

    Anything else is a `UserError` that names the file and the line, also what PyYAML takes: a key
    that stands twice (the last would win), a key that is no text, a number that YAML does not read
    as it looks (010 is 8, 1:30 is 90), an alias inside what it stands for, an empty file.
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
        raise UserError(f"{path}{_described(error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        kind = "is empty" if content is None else f"holds a {type(content).__name__}"
        raise UserError(f"{path} {kind}; it must have keys at its top level (`key: value`)")
    return content


def _described(error: "MarkedYAMLError") -> str:
    """The line of a fault, what it is and, where that does not say it, what to write."""
    problem = str(error.problem or error.context)
    mark = error.problem_mark or error.context_mark
    if problem in REMEDIES and error.context_mark:
        mark = error.context_mark  # where it begins; PyYAML's place is where it gave up
    tab = "; indent with spaces, not tabs" if "'\\t'" in problem else ""
    where = f", line {mark.line + 1}" if mark else ""
    return f"{where}: {problem}{tab or REMEDIES.get(problem, '')}"


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
    """End a snakemake in one line whose `--configfile` is none, or its `--config` no KEY=VALUE."""
    option = ""
    for word in arguments:
        if word.startswith("-"):
            option, given, word = word.partition("=")
            if not given:
                continue
        if option in ("--config", "-C") and "=" not in word:
            fault = f"{word!r} is not KEY=VALUE; what is to be made stands before {option}"
            raise SystemExit(f"error: {option}: {fault}")
        if option in ("--configfile", "--configfiles"):
            try:
                read_yaml(word or "''")
            except (UserError, OSError) as error:
                raise SystemExit(f"error: {option} {error}") from None


def _strict_loader() -> type:
    """PyYAML's safe loader that refuses what `read_yaml` says."""
    import yaml

    def refuse(node: "Node | Event", problem: str) -> None:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

    class StrictLoader(yaml.SafeLoader):
        def compose_node(self, parent: "Node | None", index: Any) -> "Node | None":
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                node = self.anchors.get(event.anchor)
                if node is not None and node.end_mark is None:
                    refuse(event, f"*{event.anchor} stands inside &{event.anchor} itself")
            return super().compose_node(parent, index)

        def construct_number(self, node: "ScalarNode") -> int | float:
            integer = node.tag == "tag:yaml.org,2002:int"
            value = self.construct_yaml_int(node) if integer else self.construct_yaml_float(node)
            if OTHER_BASE.fullmatch(node.value):
                remedy = "write it without leading zero or colon, text in quotes"
                refuse(node, f"YAML reads {node.value} as {value}; {remedy}")
            return value

        def construct_mapping(self, node: "MappingNode", deep: bool = False) -> dict[Hashable, Any]:
            seen: dict[Any, int] = {}
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                if not isinstance(key, yaml.ScalarNode):
                    refuse(key, "a list or mapping stands where a key is due; put text in quotes")
                name, line = self.construct_object(key, deep=True), key.start_mark.line + 1
                if not isinstance(name, str):
                    refuse(key, f"the key {key.value!r} is no text; put it in quotes")
                if name in seen:
                    refuse(key, f"the key {name!r} is there already, in line {seen[name]}")
                seen[name] = line
            return super().construct_mapping(node, deep)

    for kind in ("int", "float"):
        StrictLoader.add_constructor(f"tag:yaml.org,2002:{kind}", StrictLoader.construct_number)
    return StrictLoader
