"""What every program shares: logging, the number of threads, and errors without traceback."""

import argparse
import atexit
import gc
import io
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar, get_type_hints

from fusionchat.errors import UserError

ROOT = Path(__file__).resolve().parents[2]  # of the project
PREFIX_ENDINGS = (".csv", ".md", ".tex", ".html", ".svg", ".png")
FILE_ENDINGS = (".safetensors", ".bin", ".json", ".jsonl", ".parquet", ".yaml", *PREFIX_ENDINGS)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SWALLOWED = 2.0  # seconds after which a program that was stopped, and goes on, is stopped again


def _stopped_early(kind: type[BaseException], error: BaseException, where: Any) -> None:
    """Say a Ctrl-C during the imports in one line, as `run` does from then on."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"error: {Stopped(signal.SIGINT)}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, where)


sys.excepthook = _stopped_early


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not those that say nothing: None, a flag that is off, an empty list."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or action.default is False or action.default == []
        return action.help if silent else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse would print every option before it."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Look for misspelt options first: argparse would say which required one is missing."""
        known = self._option_string_actions
        for name in (word.partition("=")[0] for word in (sys.argv[1:] if args is None else args)):
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                near = get_close_matches(name, known, n=1)
                self.error(
                    f"unknown option {name}" + (f"; did you mean {near[0]}?" if near else "")
                )
        parsed, unknown = super().parse_known_args(args, namespace)
        for action in self._actions:
            given: set[str] = set()
            for path in _paths(getattr(parsed, action.dest, None)):
                if (real := os.path.realpath(path)) in given:
                    self.error(f"{action.option_strings[0]}: {path} is given twice")
                given.add(real)
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())} (see {self.prog} --help)\n")


def _paths(value: Any) -> Iterator[Path]:
    """The files and folders in an option's value."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _paths(part)


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with the options that every program has."""
    result = _Parser(description=description, formatter_class=_HelpFormatter)
    result.register("type", Path, _path)
    result.add_argument("--threads", type=positive_int, default=1, help="CPU threads to use")
    return result


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--configfile` and `--config`, which mean what they mean to snakemake."""
    parser.add_argument(
        "--configfile",
        type=existing_path,
        nargs="+",
        default=[ROOT / "config.yaml"],
        help="of the run; later ones override earlier ones",
    )
    parser.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="override the files, such as device=cpu",
    )


def add_settings(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, section: str, *keys: str
) -> None:
    """Add the options of settings that the configuration has too, as its schema describes them."""
    from fusionchat.schema import part

    for key in keys:
        entry = part(f"{section}.{key}")
        option = {"help": entry["description"].replace("%", "%%")}
        option |= {"default": entry["default"]} if "default" in entry else {"required": True}
        parser.add_argument(f"--{key.replace('_', '-')}", **option, **_value(entry))


def _value(entry: Mapping[str, Any]) -> dict[str, Any]:
    """How argparse reads a value that the schema describes."""
    if "enum" in entry:
        return {"choices": entry["enum"]}
    if entry["type"] == "boolean":
        return {"action": argparse.BooleanOptionalAction}
    if entry["type"] == "integer":
        return {"type": integer_from(entry["minimum"], entry.get("maximum", math.inf))}
    if entry["type"] == "number":
        above = "exclusiveMinimum" in entry
        low = entry["exclusiveMinimum" if above else "minimum"]
        return {"type": number_from(low, entry.get("maximum", math.inf), above=above)}
    return {}


def integer_from(low: int, high: float = math.inf) -> Callable[[str], int]:
    """An argparse type: an integer from `low` to `high`."""
    limits = f"of at least {low}" + ("" if high == math.inf else f" and at most {high}")

    def integer(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not an integer {limits}")
        return value

    return integer


positive_int = integer_from(1)
count = integer_from(0)


def number_from(
    low: float, high: float = math.inf, *, above: bool = False
) -> Callable[[str], float]:
    """An argparse type: a finite number from `low`, itself only if not `above`, to `high`."""
    limits = f"above {low:g}" if above else f"of at least {low:g}"
    limits += "" if high == math.inf else f" and at most {high:g}"

    def number(text: str) -> float:
        value = float(text)
        if not (low < value if above else low <= value) or value > high or value == math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number {limits}")
        return value

    return number


positive_number = number_from(0, above=True)


def _path(text: str) -> Path:
    """What `type=Path` means: an empty word, which Python takes for this folder, is refused."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a file or folder")
    return Path(text)


def prefix(text: str) -> Path:
    """An argparse type: the name, without ending, of files that a program writes side by side."""
    path = _path(text)
    if path.suffix in PREFIX_ENDINGS:
        raise argparse.ArgumentTypeError(
            f"{text} is a prefix, to which the endings are added; leave out {path.suffix}"
        )
    if text.endswith(os.sep) or path.name in ("", ".."):
        raise argparse.ArgumentTypeError(
            f"{text!r} is a folder; give a prefix, such as {path / 'name'}"
        )
    return path


def output_folder(text: str) -> Path:
    """An argparse type: a folder to write, which is not called like a file."""
    path = _path(text)
    if path.suffix in FILE_ENDINGS:
        raise argparse.ArgumentTypeError(
            f"{text} would be a folder with the name of a file; leave out {path.suffix}"
        )
    return path


def existing_path(text: str) -> Path:
    """An argparse type: a file or folder that is there."""
    path = _path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def named_path(text: str) -> tuple[str, Path]:
    """An argparse type: NAME=PATH, a name and a file or folder that is there."""
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, existing_path(path)


Options = TypeVar("Options")


def options_of(kind: type[Options], args: argparse.Namespace, **others: Any) -> Options:
    """A dataclass of options from the arguments of the same names, and `others`.

    A field that is such a dataclass itself is filled alike; an option that is not given (None)
    leaves a field its default.
    """
    given: dict[str, Any] = {}
    types = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        if is_dataclass(types[field.name]) and field.name not in others:
            given[field.name] = options_of(types[field.name], args)
        elif getattr(args, field.name, None) is not None:
            given[field.name] = getattr(args, field.name)
    return kind(**given | others)


def refuse_unused(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    names: Iterable[str],
    why: str,
    spelt: Mapping[str, str] | None = None,
) -> None:
    """Raise a `UserError` where an option that has no effect is given, so that nobody relies on it.

    `names` are attributes of `args`; `spelt` names options that are called otherwise.
    """
    for name in names:
        if getattr(args, name) != parser.get_default(name):
            option = (spelt or {}).get(name, f"--{name.replace('_', '-')}")
            raise UserError(f"{option}: has no effect {why}; leave it out")


def limit_threads(threads: int) -> None:
    """Give BLAS, tokenizers and numba `threads` threads; call before torch is imported.

    A thread that has nothing to do sleeps: OpenMP would let it spin, which takes the core from
    whatever else runs on the machine.
    """
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class Stopped(BaseException):
    """A signal asked the program to stop: on its way up it cleans up, like Python's Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number  # as a shell says it


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into `Stopped`; what is ignored, as under nohup, stays so."""
    process = os.getpid()
    before = {n: signal.getsignal(n) for n in (*STOPPING, signal.SIGALRM)}
    numbers = [n for n, handler in before.items() if handler is not signal.SIG_IGN]
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a fork: it has nothing to clean up
            os._exit(128 + number)
        if isinstance(sys.exc_info()[1], Stopped):
            return  # a group gets several at once; clearing up goes to its end
        received.append(number)
        # Until the program ends: libraries have places where every exception is swallowed.
        signal.setitimer(signal.ITIMER_REAL, SWALLOWED)
        raise Stopped(received[0])

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        if received:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number in numbers:
            signal.signal(number, before[number])


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> None:
    """Run a program's `main`; a `UserError`, a file that cannot be read or written, or a signal
    becomes one line on stderr and an exit code above 0.
    """
    # torch and transformers bring a million objects that stay: looking for cycles among them at the
    # usual rate while they are imported takes 0.5 s, and once more before Python ends 0.6 s.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    if isinstance(sys.stdout, io.TextIOWrapper):  # in a locale without a sign such as the minus
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    for client in ("httpx", "httpx2"):  # they log whole addresses, with keys and signatures
        logging.getLogger(client).setLevel(logging.WARNING)
    try:
        with _stop_on_signals():
            main(argv)
    except (UserError, OSError, Stopped) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(getattr(error, "code", 1))
