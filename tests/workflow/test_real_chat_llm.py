"""A real chat LLM goes through every stage, each compared with transformers or numpy alone."""

import hashlib
import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from micro_project import SIDE_BY_SIDE, Project, copy_project
from mt_bench_server import FakeModel, serve
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fusionchat.dialogues.dialogue import Dialogue, read_dialogues
from fusionchat.dialogues.messages import chat_messages
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import open_renderer
from fusionchat.files import read_json, read_jsonl
from fusionchat.logits.store import read_logits

pytestmark = pytest.mark.timeout(3600)  # minutes on a quiet machine

MATERIAL = Path(__file__).parent / "real"
MODELS = ("smollm2", "tuned", "llama", "clm", "from_tuned", "from_llama", "mean", "varm")


def tune(folder: Path, output: Path) -> None:
    """A source: the chat LLM after a few steps on sentences of one kind."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for colour in ("red", "green", "blue"):
        asked = chat_messages(None, [f"Name something {colour}.", f"A {colour} door."])
        ids = torch.tensor([tokenizer.apply_chat_template(asked)["input_ids"]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def draw(tokenizer: Path, output: Path) -> None:
    """A source of another family: random weights, and a tokenizer that people use."""
    torch.manual_seed(0)
    vocabulary = AutoTokenizer.from_pretrained(tokenizer)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=len(vocabulary), num_attention_heads=4, **sizes)
    LlamaForCausalLM(config).save_pretrained(output)
    vocabulary.save_pretrained(output)


@pytest.fixture(scope="module")
def judge() -> FakeModel:
    return FakeModel(reply=lambda messages: f"Fine. Rating: [[{len(str(messages)) % 10 + 1}]]")


@pytest.fixture(scope="module")
def run(tmp_path_factory, smollm2, real_tokenizer, judge) -> Project:
    """The run, to its tables; the judge is a server on this machine."""
    llama2 = real_tokenizer("llama2")
    project = copy_project(tmp_path_factory.mktemp("real") / "project")
    tune(smollm2, project.folder / "tuned")
    draw(llama2, project.folder / "llama")
    shutil.copytree(MATERIAL, project.folder, dirs_exist_ok=True)
    config = yaml.safe_load((MATERIAL / "config.yaml").read_text())
    for name in ("tuned", "llama"):
        config["models"][name]["path"] = name
    config["models"]["smollm2"]["path"] = str(smollm2)
    with serve(judge) as url:
        config["mt_bench"]["judges"] = {"local": {"kind": "openai", "model": "j", "base_url": url}}
        (project.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        done = project.make("table1", "worth", *SIDE_BY_SIDE, OPENAI_API_KEY="none")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture(scope="module")
def pivot(smollm2) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(smollm2)


def results(run: Project) -> Path:
    return run.folder / "results" / "real"


def chat_ids(tokenizer: PreTrainedTokenizerBase, dialogue: Dialogue, messages: int) -> list[int]:
    """The first messages of a dialogue as the model's own template writes them."""
    texts = list(chain(*dialogue.turns))[:messages]
    said = chat_messages(dialogue.system, texts)
    asked = messages % 2 == 1
    return tokenizer.apply_chat_template(said, add_generation_prompt=asked)["input_ids"]


def response_nats(pivot, dialogue: Dialogue) -> np.ndarray:
    """Nats of each response token and end of turn, by transformers alone."""
    model, tokenizer = pivot
    ids = torch.tensor(chat_ids(tokenizer, dialogue, 2 * len(dialogue.turns)))
    learnt = torch.zeros(len(ids), dtype=torch.bool)
    for turn in range(len(dialogue.turns)):
        begin = len(chat_ids(tokenizer, dialogue, 2 * turn + 1))
        end = len(chat_ids(tokenizer, dialogue, 2 * turn + 2))
        learnt[begin : end - 1] = True  # without the line break behind the end of turn
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids[None]).logits[0], dim=-1)
    return -logprobs[:-1].gather(1, ids[1:, None])[:, 0][learnt[1:]].numpy()


def nll(run: Project, name: str) -> float:
    return read_json(results(run) / "nll" / f"{name}.json")["nll"]


def test_every_record_became_a_dialogue(run):
    report = read_json(results(run) / "dialogues" / "report.json")
    assert report["formats"] == {"messages": 11, "sharegpt": 6, "alpaca": 7}
    assert (report["records"], report["training_rows"], report["heldout_rows"]) == (24, 18, 6)
    assert report["system"] == 2


def test_the_dump_equals_an_independent_computation(run, pivot):
    dialogues = {d.dialogue_id: d for d in read_dialogues(results(run) / "dialogues/0000.parquet")}
    rows = list(read_logits(results(run) / "logits" / "smollm2" / "0000.parquet"))
    assert len(rows) == 18
    for row in rows:
        dialogue = dialogues[row.dialogue_id]
        whole = chat_ids(pivot[1], dialogue, 2 * len(dialogue.turns))
        assert row.input_ids.tolist() == whole[: len(row.input_ids)]
        nats = response_nats(pivot, dialogue)
        np.testing.assert_allclose(row.token_ce, nats, atol=0.01, rtol=2**-10)
        assert row.ce == pytest.approx(nats.mean(), abs=1e-4)


def test_the_held_out_likelihood_equals_an_independent_computation(run, pivot):
    heldout = read_dialogues(results(run) / "dialogues" / "heldout.parquet")
    nats = np.concatenate([response_nats(pivot, dialogue) for dialogue in heldout])
    assert nll(run, "smollm2") == pytest.approx(nats.mean(), abs=1e-4)


def test_training_lowers_the_held_out_likelihood_and_merging_loses_nothing(run):
    targets = [nll(run, name) for name in ("from_tuned", "from_llama")]
    assert max(nll(run, "clm"), *targets) < nll(run, "smollm2") - 0.01
    for merge in ("mean", "varm"):
        assert nll(run, merge) == pytest.approx(np.mean(targets), abs=0.005)


def test_varm_equals_numpy(run, smollm2):
    folder = results(run)
    files = [smollm2, *(folder / f"targets/{t}" for t in ("from_tuned", "from_llama"))]
    pivot, *targets = (safe_open(f / "model.safetensors", "pt") for f in files)
    merged = safe_open(folder / "merged" / "varm" / "model.safetensors", "pt")
    names = merged.keys()
    assert names == pivot.keys()
    for name in names:
        start = pivot.get_tensor(name).double().numpy()
        tuned = [target.get_tensor(name).double().numpy() for target in targets]
        changes = np.array([np.mean((one - start) ** 2) for one in tuned])
        expected = np.tensordot(changes / changes.sum(), np.stack(tuned), axes=1)
        np.testing.assert_allclose(merged.get_tensor(name).numpy(), expected, rtol=2e-7, atol=1e-9)


def test_the_run_s_prompts_are_the_model_s_own(run, pivot, smollm2):
    renderer = open_renderer(smollm2, RenderingOptions(template="tokenizer"))
    questions = read_jsonl(results(run) / "mt_bench" / "questions" / "question.jsonl")
    answers = read_jsonl(results(run) / "mt_bench" / "answers" / "varm.jsonl")
    for question, record in zip(questions, answers, strict=True):
        (choice,) = record["choices"]
        asked, again = question["turns"]
        prompts = ([asked], [asked, choice["turns"][0], again])
        for said, checksum in zip(prompts, choice["prompt_sha256"], strict=True):
            chat = chat_messages(None, said)
            text = pivot[1].apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            assert hashlib.sha256(text.encode()).hexdigest() == checksum
            own = pivot[1].apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
            assert list(renderer.prompt(said).ids) == own


def test_greedy_answers_are_the_model_s_own_and_end_at_its_stop(run, pivot):
    model, tokenizer = pivot
    limit = yaml.safe_load((MATERIAL / "config.yaml").read_text())["mt_bench"]["max_new_tokens"]
    questions = read_jsonl(results(run) / "mt_bench" / "questions" / "question.jsonl")
    answers = read_jsonl(results(run) / "mt_bench" / "answers" / "smollm2.jsonl")
    ended = 0
    for question, record in zip(questions, answers, strict=True):
        if question["category"] not in ("reasoning", "math", "coding", "extraction"):
            continue
        (choice,) = record["choices"]
        said = [question["turns"][0]]
        for text, following in zip(choice["turns"], [*question["turns"][1:], None], strict=True):
            chat = tokenizer.apply_chat_template(
                chat_messages(None, said), add_generation_prompt=True, return_tensors="pt"
            )
            ids = model.generate(**chat, max_new_tokens=limit, do_sample=False)[0]
            new = ids[chat["input_ids"].shape[1] :]
            ended += int(new[-1]) == tokenizer.eos_token_id
            assert text == tokenizer.decode(new, skip_special_tokens=True).strip()
            said += [text, following]
    assert ended
    assert not [a for a in answers if "<|im_" in json.dumps(a)]


def test_every_model_was_judged_and_stands_in_the_table(run, judge):
    table = (results(run) / "tables" / "table1.csv").read_text()
    assert all(f",{name}," in table or f"\n{name}," in table for name in MODELS)
    assert all("Rating" in str(body["messages"]) for body in judge.requests)


def test_worth_says_which_source_teaches(run):
    text = (results(run) / "worth.md").read_text()
    assert "## llama: leave it out" in text
    assert "## tuned: worth a training" in text
