"""What the doctor said, and what it was asked about."""

from pathlib import Path

import yaml

from fusionchat.config import checked
from fusionchat.experiment import Experiment

ROOT = Path(__file__).resolve().parents[2]


def failed(findings) -> dict[str, str]:
    return {item.check: item.fix for item in findings if item.fix}


def experiment_of(name: str) -> Experiment:
    config = yaml.safe_load((ROOT / name).read_text())
    return Experiment(checked(config))
