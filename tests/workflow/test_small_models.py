"""The configurations for small chat LLMs, end to end from a hub on this machine.

It serves shrunk models of the same architectures, with real tokenizers of the same families.
"""

import json
import shutil
from pathlib import Path

import hub_server
import pandas as pd
import pytest
import torch
import yaml
from micro_project import SIDE_BY_SIDE, copy_project
from mt_bench_server import FakeModel, serve
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

MATERIAL = Path(__file__).parent / "real"
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048}
# As TinyLlama-Chat's tokenizer has it; the package with Llama 2's brings none.
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content']"
    " + eos_token + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}"
    "{% endif %}"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, smollm2, real_tokenizer) -> dict[str, Path]:
    """A shrunk model of each family."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("models")
    families = {
        "SmolLM2": (smollm2, LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True}),
        "Qwen2.5": (real_tokenizer("qwen3"), Qwen2ForCausalLM, Qwen2Config, {}),
        "TinyLlama": (real_tokenizer("llama2"), LlamaForCausalLM, LlamaConfig, {}),
    }
    for name, (source, architecture, configuration, more) in families.items():
        tokenizer = AutoTokenizer.from_pretrained(source)
        tokenizer.chat_template = tokenizer.chat_template or ZEPHYR
        config = configuration(vocab_size=len(tokenizer), **SIZES, **HEADS, **more)
        architecture(config).to(torch.bfloat16).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    return {name: place / name for name in families}


def mixture() -> bytes:
    """The data set's file: ShareGPT, every dialogue several times with another number."""
    records = [json.loads(line) for line in (MATERIAL / "dialogues.jsonl").read_text().splitlines()]
    said = [record["conversations"] for record in records if "conversations" in record]
    numbered = [
        [said_one | {"value": f"{said_one['value']} ({number})"} for said_one in one]
        for one in said
        for number in range(6)
    ]
    return json.dumps([{"conversations": one} for one in numbered]).encode()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["cpu", "small"])
def test_from_the_hub_to_table_1(tmp_path, folders, name):
    project = copy_project(tmp_path / "project")
    shutil.copytree(MATERIAL / "mt_bench", project.folder / "mt_bench")
    file = project.folder / "configs" / f"{name}.yaml"
    config = yaml.safe_load(file.read_text())
    model = FakeModel(reply=lambda messages: "Fine. Rating: [[5]]")
    with hub_server.serve() as hub, serve(model) as url:
        for entry in config["models"].values():
            family = entry["repo"].partition("/")[2].partition("-")[0]
            files = sorted(folders[family].iterdir())
            hub.repos[entry["repo"]] = {f.name: f.read_bytes() for f in files}
        hub.repos[config["data"]["repo"]] = {config["data"]["file"]: mixture()}
        (project.folder / "here.yaml").write_text(
            yaml.safe_dump(
                {
                    "device": "cpu",
                    "data": {"limit": 20, "heldout": 4, "sample": 4},
                    "logits": {"dtype": "float32"},
                    "alignment": {"min_mass": 0.0},
                    "training": {"gpu": 0, "fit_memory": False, "bf16": False},
                    "mt_bench": {
                        "questions": "mt_bench",
                        "max_new_tokens": 4,
                        "judges": {"qwen": {"base_url": url}},
                    },
                }
            )
        )
        run = project.make(
            *("table1", "worth", "--configfile", str(file), "here.yaml", *SIDE_BY_SIDE),
            HF_ENDPOINT=hub.url,
            OPENAI_API_KEY="none",
        )
    assert run.returncode == 0, run.stdout + run.stderr
    results = project.folder / "results" / name
    table = pd.read_csv(results / "tables" / "table1.csv").set_index("model")
    assert set(table.index) >= {*config["models"], *config["targets"], *config["merges"]}
    assert table["average"].eq(5.0).all()
    assert (results / "worth.md").read_text().count("\n## ") == 2
    report = json.loads((results / "dialogues" / "report.json").read_text())
    assert (report["training_rows"], report["held_out"]) == (20, 4)
