"""Maps: which models stand at which values of one or two settings, read from the settings."""

from collections.abc import Mapping, Sequence

from fusionchat.command_words import flags, pairs
from fusionchat.errors import UserError
from fusionchat.experiment import Experiment

AXES = {
    "clm_weight": "CLM weight",
    "wrong_answers": "share of wrong answers",
    "dialogues": "training dialogues",
}

Place = tuple[float, ...]
Partial = tuple[float | None, ...]
"""A place in which None stands for every value."""


def settings_of(experiment: Experiment, name: str) -> dict[str, float | None]:
    """The settings of a target, or of the targets of a merge, that a map can have as an axis.

    The CLM weight of a target without sources is None: it has no other loss to weigh against.
    """
    if name in experiment.merges:
        return settings_of(experiment, next(iter(experiment.merges[name].targets)))
    target, data = experiment.targets[name], experiment.config["data"]
    mixture = experiment.mixtures[target.mixture]
    everything = mixture.get("mixture", 0) - data["heldout"]
    return {
        "clm_weight": target.training["clm_weight"] if target.sources else None,
        "wrong_answers": mixture.get("wrong_answers", 0.0),
        "dialogues": mixture.get("dialogues", everything),
    }


def points(experiment: Experiment, name: str) -> dict[Place, dict[str, str]]:
    """By place, one value an axis, the model of each label that stands there.

    Two models of a label in one place, and a place without all controls, are a `UserError`.
    """
    entry = experiment.config["maps"][name]
    axes = [entry[axis] for axis in ("x", "y") if axis in entry]
    groups = {
        label: _placed(experiment, models, axes, f"maps.{name}.models.{label}")
        for label, models in entry["models"].items()
    }
    places = {
        tuple(value for value in place if value is not None)
        for group in groups.values()
        for place in group
        if None not in place
    }
    result = {}
    for place in sorted(places):
        here = {label: _at(group, place) for label, group in groups.items()}
        result[place] = {label: model for label, model in here.items() if model is not None}
        for control in entry["controls"]:
            if control not in result[place]:
                values = ", ".join(f"{a} {v:g}" for a, v in zip(axes, place, strict=True))
                raise UserError(f"config: maps.{name}: no model of {control} has {values}")
    return result


def _placed(
    experiment: Experiment, models: Sequence[str], axes: Sequence[str], key: str
) -> dict[Partial, str]:
    placed: dict[Partial, str] = {}
    for model in models:
        settings = settings_of(experiment, model)
        other = placed.setdefault(tuple(settings[axis] for axis in axes), model)
        if other != model:
            differ = " nor ".join(axes)
            raise UserError(f"config: {key}: {other} and {model} differ in neither {differ}")
    return placed


def _at(group: Mapping[Partial, str], place: Place) -> str | None:
    """The model of a group that stands at a place."""
    fits = (
        model
        for at, model in group.items()
        if all(a is None or a == b for a, b in zip(at, place, strict=True))
    )
    return next(fits, None)


def point_words(experiment: Experiment, name: str) -> list[str]:
    """--point X:Y:LABEL=MODEL,... for each place of a map; Y is 0 in a curve."""
    values = [
        ":".join([*(f"{v:g}" for v in (*place, 0)[:2]), ",".join(pairs(models, models.values()))])
        for place, models in points(experiment, name).items()
    ]
    return flags("--point", values)


def axis_words(experiment: Experiment, name: str) -> list[str]:
    """--x and --y: what the axes are called."""
    entry = experiment.config["maps"][name]
    return ["--x", AXES[entry["x"]], *(["--y", AXES[entry["y"]]] if "y" in entry else [])]
