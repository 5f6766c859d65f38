"""Plans of the configurations that come with the package."""

from pathlib import Path
from typing import Any

import yaml

from fusionchat.cluster.costs.rates import read_rates
from fusionchat.cluster.costs.work import Row
from fusionchat.cluster.plan import Plan
from fusionchat.config import checked
from fusionchat.experiment import Experiment

ROOT = Path(__file__).resolve().parents[2]


def make_plan(name: str, **changes: Any) -> Plan:
    """The plan of a configuration, some of its keys replaced."""
    config = yaml.safe_load((ROOT / name).read_text()) | changes
    return Plan(Experiment(checked(config)), read_rates())


def by_rule(plan: Plan) -> dict[str, Row]:
    """Its rows by rule."""
    return {row.rule: row for row in plan.rows()}
