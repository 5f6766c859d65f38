"""One run: the names of its models, the settings of each and where their files lie.

Made from a checked configuration. The rules, the plan and the doctor ask it instead of reading the
configuration themselves, so that all of them mean the same by a name.
"""

from dataclasses import dataclass

from fusionchat.experiment.mixtures import Mixtures
from fusionchat.experiment.rendering import Rendering
from fusionchat.experiment.report import Report


@dataclass(frozen=True)
class Experiment(Mixtures, Rendering, Report):
    """Everything that follows from a checked configuration, from its models to its report."""
