"""A plan's rates: the packaged table, under one's own file, a machine's rates and what was measured
on this one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionchat.cli import ROOT
from fusionchat.config import lay_over
from fusionchat.errors import UserError
from fusionchat.readers.yaml import read_yaml

PACKAGED = ROOT / "resources" / "throughputs.yaml"
CALIBRATION = Path("results/calibration.yaml")  # of this machine, by plan.py --calibrate
NAMED = (("models",), ("data",), ("tasks",), ("machines",))  # sections whose keys are names
NEEDED = {
    "models": ("parameters",),
    "tasks": ("documents", "requests", "tokens", "generated", "megabytes"),
    "machines": ("device", "forward", "train", "bandwidth"),
}
MAY_BE_ZERO = (
    "memory",
    "start",
    "startup_cpu",
    "spread",
    "megabytes",
    "response_tokens",
    "generated",
)
RATES = ("start", "startup_cpu", "forward", "train", "bandwidth", "memory")


def read_rates(own: Path | None = None) -> dict[str, Any]:
    """The packaged table, and laid over it a file that names some of its keys."""
    table = read_yaml(PACKAGED)
    if own is not None and own.resolve() != PACKAGED:
        more = read_yaml(own)
        _check(more, table, own)
        lay_over(table, more)
    return table


def _check(more: Any, table: Any, file: Path, *keys: str) -> None:
    """Keys that the packaged table has, with numbers where it has numbers: of 0 or more, and above
    0 where something is divided by them.
    """
    where = f"{file}: {'.'.join(keys)}" if keys else str(file)
    if not isinstance(table, Mapping):
        if not (isinstance(more, str) if isinstance(table, str) else _is_number(more, keys[-1])):
            hint = "; 1.0e+9 needs its point and sign" if isinstance(more, str) else ""
            wanted = "a name" if isinstance(table, str) else "a number above 0, or 0 for sizes"
            raise UserError(f"{where}: {more!r} is not {wanted}{hint}")
        return
    if not isinstance(more, Mapping):
        raise UserError(f"{where}: has no keys below it, as it has in resources/throughputs.yaml")
    for key, value in more.items():
        if key not in table and keys not in NAMED:
            raise UserError(f"{where}: unknown key {key!r}; allowed are {', '.join(table)}")
        _check(value, table.get(key, next(iter(table.values()))), file, *keys, key)
        lacking = [k for k in NEEDED.get(keys[0], ()) if k not in value] if keys in NAMED else []
        if lacking and key not in table:
            raise UserError(f"{where}.{key}: the key {lacking[0]!r} is missing")


def _is_number(value: object, key: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (0 if key in MAY_BE_ZERO else 1e-12) <= value < 1e30


def choose_machine(table: dict[str, Any], device: str, name: str | None) -> list[str]:
    """Put a machine's rates, or those measured on this one, in the place of the device's.

    Returns what to say about it.
    """
    if name is not None:
        machines = {n: m for n, m in table["machines"].items() if m["device"] == device}
        if name not in machines:
            raise UserError(
                f"--machine {name}: for device: {device} there are {', '.join(machines)}; add "
                "yours by --throughputs FILE, or measure it: --calibrate"
            )
        rates = {key: value for key, value in machines[name].items() if key in RATES}
        table["devices"][device] |= rates
        return [f"Rates of {name}: guesses from its data sheet."]
    measured = read_yaml(CALIBRATION) if CALIBRATION.is_file() else {}
    if device not in measured:
        return []
    _check(measured, table["devices"], CALIBRATION)
    table["devices"][device] |= measured[device]
    return [f"Rates measured on {measured[device].get('hardware')} ({CALIBRATION})."]
