"""A small finished run as the other stages leave it, for the tests of tables, figures and page."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusionchat.alignment.aligned_store import EXTRA
from fusionchat.alignment.transfer.tables import KINDS
from fusionchat.files import write_json, write_jsonl
from fusionchat.logits.store import DialogueLogits, LogitWriter
from fusionchat.mt_bench.questions import read_questions
from fusionchat.mt_bench.scores import read_scores
from fusionchat.scores.benchmark import CATEGORIES

PAPER = Path(__file__).resolve().parents[2] / "resources" / "paper"
SOURCES = ("tiny_mixtral", "tiny_solar")
TARGETS = ("clm", "multi", "mixtral", "solar")
MERGES = ("linear", "ta", "varm_model", "varm")
MODELS = ("tiny_openchat", *SOURCES, *TARGETS, *MERGES)
LABELS = {"clm": "CLM", "ta": "TA", "varm": "VaRM <&%_#>", "varm_model": "VaRM model"}
QUESTIONS = 5
JUDGE = "rule"


def group(name: str) -> str:
    return "Target" if name in TARGETS else "Fused" if name in MERGES else "Source"


def rows(names=MODELS) -> list[str]:
    """The `--row` words of a command line."""
    words = []
    for name in names:
        label = LABELS.get(name, name.replace("_", " ").title())
        words += ["--row", f"{group(name)}:{name}:{label}"]
    return words


def config() -> dict:
    """The configuration of such a run; its labels hold what HTML must escape."""
    pretrain = {"architecture": "llama", "tokenizer": "metaspace"}
    sources = {"clm": [], "multi": list(SOURCES), "mixtral": ["tiny_mixtral"]}
    sources["solar"] = ["tiny_solar"]
    merged = {"targets": {"mixtral": 1, "solar": 1}}
    methods = {"linear": "linear", "ta": "task_arithmetic", "varm_model": "varm", "varm": "varm"}
    run = {
        "name": "test",
        "system_message": "A <tag>.",
        "pivot": "tiny_openchat",
        "device": "cpu",
        "models": {n: {"pretrain": pretrain} for n in ("tiny_openchat", *SOURCES)},
        "data": {"world": {"seed": 3}, "heldout": 30},
        "targets": {name: {"sources": listed} for name, listed in sources.items()},
        "merges": {name: {"method": methods[name], **merged} for name in MERGES},
    }
    run["merges"]["varm_model"]["granularity"] = "model"
    for section in ("models", "targets", "merges"):
        for name, entry in run[section].items():
            entry["label"] = LABELS.get(name, name.replace("_", " ").title())
    return run


def make_run(folder: Path, seed: int = 0, replicated: tuple[str, ...] = ()) -> Path:
    """Write questions, answers, judgments, scores, nll, losses, weights, fused shards and so on.

    The models in `replicated` have three training seeds.
    """
    rng = np.random.default_rng(seed)
    questions = [
        {
            "question_id": 81 + i,
            "category": category,
            "turns": [f"Ask <b>{i}</b> & more", "And then?"],
        }
        for i, category in enumerate(np.repeat(CATEGORIES, QUESTIONS).tolist())
    ]
    write_jsonl(folder / "questions.jsonl", questions)
    ease = rng.uniform(-2, 2, len(questions))
    names = [*MODELS, *(f"{name}-seed{k}" for name in replicated for k in (2, 3))]
    for model in names:
        strength = MODELS.index(model.split("-seed")[0])
        answers, judgments = [], []
        for number, question in enumerate(questions):
            answers.append(_answer(model, question))
            for turn in (1, 2):
                score = float(np.clip(round(5 + ease[number] + strength / 3 + rng.normal()), 1, 10))
                score = -1.0 if model == "multi" and number == 3 and turn == 2 else score
                judgments.append(_judgment(model, question, turn, score))
        write_jsonl(folder / f"mt_bench/answers/{model}.jsonl", answers)
        write_jsonl(folder / f"mt_bench/judgments/{JUDGE}/{model}.jsonl", judgments)
        _write_nll(folder, model, rng)
    files = [folder / f"mt_bench/judgments/{JUDGE}/{name}.jsonl" for name in names]
    scores = read_scores(files, read_questions(folder / "questions.jsonl"))
    pq.write_table(scores, folder / "mt_bench/scores.parquet")
    _write_training(folder, rng)
    _write_fusion(folder, rng)
    _write_benchmarks(folder)
    return folder


def _answer(model, question):
    choices = [{"index": 0, "turns": [f"{model} says <i>one</i>", f"{model} says two"]}]
    return {"question_id": question["question_id"], "model_id": model, "choices": choices}


def _judgment(model, question, turn, score):
    return {
        "question_id": question["question_id"],
        "model": model,
        "judge": [JUDGE, "rule-v1"],
        "judgment": f"Because. Rating: [[{score:g}]]",
        "score": score,
        "turn": turn,
    }


def _write_nll(folder, model, rng):
    per = [[f"h{i}", CATEGORIES[i % 8], float(rng.gamma(20, 0.4)), 20, 80] for i in range(30)]
    nats = sum(row[2] for row in per)
    record = {"model": model, "nll": nats / 600, "nll_byte": nats / 2400, "per_dialogue": per}
    write_json(folder / f"nll/{model}.json", record)


def _write_training(folder, rng):
    for target in TARGETS:
        lines = ["step,loss,clm,fusion,learning_rate"]
        for step in range(1, 40):
            clm = 2 * np.exp(-step / 10) + rng.normal(0, 0.03)
            fusion = "" if target == "clm" else f"{clm + 0.2:.4f}"
            lines.append(f"{step},{clm:.4f},{clm:.4f},{fusion},0.0001")
        path = folder / f"targets/{target}/loss.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")
    lines = ["unit,target,weight,elements"]
    names = [f"model.layers.{i}.{m}.weight" for i in (0, 1) for m in ("self_attn.q_proj", "mlp.up")]
    for unit in [*names, "model.norm.weight"]:
        weight = float(rng.beta(3, 3))
        lines += [f"{unit},mixtral,{weight},9", f"{unit},solar,{1 - weight},9"]
    path = folder / "merged/varm/weights.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    manifest = {"files": {"model.safetensors": "ab" * 32}, "versions": {"torch": "2.13.0"}}
    manifest["hardware"] = "8 x NVIDIA A100"
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


def _write_fusion(folder, rng, count=24):
    ids = [f"d{i}" for i in range(count)]
    for name in ("dialogues", "fused/multi", "fused/mixtral"):
        (folder / name).mkdir(parents=True)
    categories = pa.array([CATEGORIES[i % 8] if i else None for i in range(count)])
    pq.write_table(
        pa.table({"dialogue_id": ids, "category": categories}), folder / "dialogues/0000.parquet"
    )
    for target, models in (("multi", MODELS[:3]), ("mixtral", MODELS[:2])):
        entropies = rng.gamma(5, 0.02, (count, len(models)))
        fused = {
            "dialogue_id": ids,
            "winner": [models[i] for i in entropies.argmin(axis=1)],
            "ces": pa.array(entropies.tolist(), pa.list_(pa.float32())),
        }
        facts = {"fusionchat": json.dumps({"candidates": models})}
        table = pa.table(fused).replace_schema_metadata(facts)
        pq.write_table(table, folder / f"fused/{target}/0000.parquet")
    for model in MODELS[:3]:
        _write_logits(folder / f"logits/{model}/0000.parquet", ids, rng)
    for source in SOURCES:
        kinds = (5, 0, 0, 0, 0) if source == "tiny_mixtral" else (1, 2, 1, 0, 1)
        kept = 1.0 if source == "tiny_mixtral" else 0.75
        extra = {**dict(zip(KINDS, kinds, strict=True)), "mass_in": 4.0, "mass_out": 4.0 * kept}
        _write_logits(folder / f"aligned/{source}/0000.parquet", ids, rng, extra)


def _write_logits(path, ids, rng, extra=None):
    path.parent.mkdir(parents=True)
    columns = {name: EXTRA[name] for name in extra or {}}
    with LogitWriter(path, {"excluded": 2, "changed": 0} if extra else {}, columns) as writer:
        for name in ids:
            mass = rng.dirichlet([8, 2, 1, 1], 5)[:, :3]
            writer.write(
                DialogueLogits(
                    name,
                    np.arange(9, dtype=np.int32),
                    np.array([[3, 5]], np.int32),
                    np.zeros((5, 3), np.int32),
                    np.log(mass).astype(np.float16),
                    np.ones(5, np.float16),
                    1.0,
                    float(rng.gamma(5, 0.02)),
                ),
                **(extra or {}),
            )


def _write_benchmarks(folder):
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for name in ("train_target/clm", "train_target/multi", "score"):
        path = folder / f"benchmarks/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + "61.5\t0:01:01\t512.0\t-\t-\t-\t-\t-\t90.0\t55.0\n")


def read_csv(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a table by model."""
    with path.open(newline="", encoding="utf-8") as stream:
        return {record["model"]: record for record in csv.DictReader(stream)}


def judged(run: Path, model: str) -> dict[str, dict[int, list[float]]]:
    """Scores by category and question, straight from the judgment records."""
    categories = {}
    for line in (run / "questions.jsonl").read_text().splitlines():
        record = json.loads(line)
        categories[record["question_id"]] = record["category"]
    scores = defaultdict(lambda: defaultdict(list))
    for line in (run / f"mt_bench/judgments/rule/{model}.jsonl").read_text().splitlines():
        record = json.loads(line)
        scores[categories[record["question_id"]]][record["question_id"]].append(record["score"])
    return scores


def recomputed(run: Path, model: str) -> dict[str, float]:
    """Category means and their mean; a question without both turns does not count."""
    means = {}
    for category, questions in judged(run, model).items():
        complete = [sum(s) / len(s) for s in questions.values() if min(s) > 0]
        means[category] = sum(complete) / len(complete)
    means["average"] = sum(means[c] for c in CATEGORIES) / len(CATEGORIES)
    return means
