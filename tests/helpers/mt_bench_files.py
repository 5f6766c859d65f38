"""A small benchmark of the same formats as MT-Bench, in words of its own, for tests."""

import json
from pathlib import Path

from fusionchat.categories import CATEGORIES

NEED_REFERENCE = ("reasoning", "math", "coding")


def jsonl(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return path


def questions(count: int = 80) -> list[dict]:
    return [
        {
            "question_id": 81 + i,
            "category": CATEGORIES[i * 8 // count],
            "turns": [f"Question {i}: what is {{x}} + {i}?", f"And minus {i}?"],
            "rules": [{"kind": "number", "answer": i}, {"kind": "number", "answer": -i}],
        }
        for i in range(count)
    ]


def answers(model: str, count: int = 80, choices: int = 1) -> list[dict]:
    return [
        {
            "question_id": 81 + i,
            "answer_id": f"{model}-{i}",
            "model_id": model,
            "choices": [
                {"index": c, "turns": [f"{model} says {{{i}}} {c}", f"{model} denies {i} {c}"]}
                for c in range(choices)
            ],
            "tstamp": 0.0,
        }
        for i in range(count)
    ]


def references(count: int = 80) -> list[dict]:
    return [
        {
            "question_id": q["question_id"],
            "choices": [{"index": 0, "turns": [f"first of {i}", f"second of {i}"]}],
        }
        for i, q in enumerate(questions(count))
        if q["category"] in NEED_REFERENCE
    ]


def judge_prompts() -> list[dict]:
    one = "Q: {question}\nA: {answer}"
    two = "Q1: {question_1}\nA1: {answer_1}\nQ2: {question_2}\nA2: {answer_2}"
    reference_two = "R1: {ref_answer_1}\nR2: {ref_answer_2}\n"
    texts = {
        "single-v1": one,
        "single-math-v1": "R: {ref_answer_1}\n" + one,
        "single-v1-multi-turn": two,
        "single-math-v1-multi-turn": reference_two + two,
    }
    pair = "Q: {question}\nA: {answer_a}\nB: {answer_b}"
    pair_two = (
        "Q1: {question_1}\nA1: {answer_a_1}\nB1: {answer_b_1}\n"
        "Q2: {question_2}\nA2: {answer_a_2}\nB2: {answer_b_2}"
    )
    pairs = {
        "pair-v2": pair,
        "pair-math-v1": "R: {ref_answer_1}\n" + pair,
        "pair-v2-multi-turn": pair_two,
        "pair-math-v1-multi-turn": reference_two + pair_two,
    }
    return [
        {
            "name": name,
            "type": kind,
            "system_prompt": f"Judge ({name}).",
            "prompt_template": text,
            "output_format": output,
        }
        for kind, output, group in (
            ("single", "[[rating]]", texts),
            ("pairwise", "[[A]]", pairs),
        )
        for name, text in group.items()
    ]


def benchmark(folder: Path, count: int = 80) -> list[str]:
    """Write questions, prompts and references; returns the judge's options that name them."""
    jsonl(folder / "question.jsonl", questions(count))
    jsonl(folder / "judge_prompts.jsonl", judge_prompts())
    jsonl(folder / "references.jsonl", references(count))
    return [
        f"--questions={folder / 'question.jsonl'}",
        f"--prompts={folder / 'judge_prompts.jsonl'}",
        f"--references={folder / 'references.jsonl'}",
    ]
