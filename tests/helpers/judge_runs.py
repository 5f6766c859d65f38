"""Runs of the judge program on the small benchmark."""

from pathlib import Path

from mt_bench_files import answers, benchmark, jsonl

import judge
from fusionchat.files import read_jsonl

KEY = "sk-very-secret-0123456789"


def options(folder: Path, url: str, model: str = "m", count: int = 80, **more: object) -> list[str]:
    """The options of a run on answers of `model`; `more` are further ones (True: without value)."""
    files = benchmark(folder, count)
    jsonl(folder / f"{model}.jsonl", answers(model, count))
    chosen = {"concurrency": 8, "first_wait": 0.01, "timeout": 20, **more}
    return [
        "--judge=openai",
        "--judge-model=judge-1",
        f"--answers={folder / f'{model}.jsonl'}",
        f"--output={judgments(folder, model)}",
        f"--base-url={url}",
        f"--store={folder / 'store'}",
        *files,
        *(option(name, value) for name, value in chosen.items()),
    ]


def option(name: str, value: object) -> str:
    """A command line word."""
    name = f"--{name.replace('_', '-')}"
    return name if value is True else f"{name}={value}"


def judgments(folder: Path, model: str = "m") -> Path:
    """Where a run writes."""
    return folder / "judgments" / f"{model}.jsonl"


def run(folder: Path, url: str, model: str = "m", count: int = 8, **more: object) -> list[dict]:
    """Judge and return the records."""
    judge.main(options(folder, url, model, count, **more))
    return read_jsonl(judgments(folder, model))


def asks_about(body: dict, question: int, turn: int) -> bool:
    """Whether a request shows the judge this turn of this question (numbered from 0)."""
    text = body["messages"][-1]["content"]
    return f"{'Q' if turn == 1 else 'Q1'}: Question {question}:" in text


def whole(path: Path) -> list[str]:
    """The lines of a file but a last one that was not finished."""
    return path.read_text().split("\n")[:-1]
