"""DeepSpeed configs: float32 weights, and a refusal of what would change them."""

import json
from pathlib import Path

import pytest

from fusionchat.errors import UserError
from fusionchat.training.zero import zero_config

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "deepspeed"


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("bf16", [True, False])
def test_the_shipped_configs_keep_float32_weights(stage, bf16):
    config = zero_config(CONFIGS / f"zero{stage}.json", bf16)
    assert config["zero_optimization"]["stage"] == stage
    assert config["torch_autocast"] == {"enabled": bf16, "dtype": "bfloat16"}
    assert "bf16" not in config
    sizes = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    assert {config[name] for name in sizes} == {"auto"}


@pytest.mark.parametrize("section", ["bf16", "fp16", "torch_autocast"])
def test_a_config_with_a_precision_of_its_own_is_refused(tmp_path, section):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({section: {"enabled": True}}))
    with pytest.raises(UserError, match=section):
        zero_config(path, bf16=True)
