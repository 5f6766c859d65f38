"""Answering MT-Bench-like questions: ours beside one question at a time, with the same model.

The baseline is our own code of the same definition: the library's `generate` for one prompt after
the other. The model has random weights and never ends a turn by itself, so that both do the same
work; loading is not counted. Times are CPU seconds of this process with one thread; gpu/answers.py
measures a 7B shape on a GPU.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from fusionchat.mt_bench.answering.dialogue_engine import AnswerOptions
from fusionchat.mt_bench.answering.local_engine import LocalEngine
from fusionchat.mt_bench.answers import clean_answer, special_token_texts
from fusionchat.mt_bench.questions import TEMPERATURES, Question

GOAL = 6.0
VOCABULARY = 32000
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
Turns = dict[int, list[str]]


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="16 questions, 24 tokens, one round")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--batch-size", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=3)
    return parser


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of made-up words, so that every answer can be read back."""
    words = ["<s>", "<|end_of_turn|>", "GPT4", "Correct", "User", "Assistant", ":", "<unk>"]
    words += [f"w{i}" for i in range(VOCABULARY - len(words))]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="<|end_of_turn|>", unk_token="<unk>"
    )


def make_model(shape: dict[str, int], dtype: torch.dtype) -> MistralForCausalLM:
    """Random weights that never end a turn by themselves, on the default device."""
    config = MistralConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        sliding_window=None,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
        **shape,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        model.lm_head.weight[:8] = 0.0
    return model


def write_questions(count: int) -> list[Question]:
    """Two-turn questions of 80 to 200 words in the benchmark's eight categories."""
    draw = random.Random(1)
    categories = list(TEMPERATURES)

    def text() -> str:
        return " ".join(f"w{draw.randrange(30000)}" for _ in range(draw.randrange(80, 200)))

    return [Question(i, categories[i * 8 // count], (text(), text())) for i in range(count)]


def ours(engine: LocalEngine, questions: Sequence[Question]) -> Turns:
    """Answers by the package: batches, own cache, own sampling."""
    records = [record for block in engine.answer("m", questions) for record in block]
    return {record["question_id"]: record["choices"][0]["turns"] for record in records}


def one_at_a_time(engine: LocalEngine, questions: Sequence[Question]) -> Turns:
    """Answers by the library's generate, a prompt after the other, with its cache."""
    tokenizer, model, options = engine.tokenizer, engine.model, engine.options
    answers = {}
    for question in questions:
        said: list[str] = []
        for asked in question.turns:
            ids = engine.renderer.prompt([*said, asked]).ids
            inputs = torch.tensor([ids], device=model.device)
            temperature = question.temperature * options.temperature_scale
            sampling = {"temperature": temperature, "top_k": 0} if temperature else {}
            output = model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=bool(temperature),
                max_new_tokens=options.max_new_tokens,
                pad_token_id=1,
                **sampling,
            )
            text = tokenizer.decode(output[0, len(ids) :])
            said += [asked, clean_answer(text, [], special_token_texts(tokenizer))]
        answers[question.question_id] = said[1::2]
    return answers


def alternate(
    functions: dict[str, Callable[[], Turns]], repeats: int
) -> tuple[dict[str, float], dict[str, Turns]]:
    """Median CPU seconds of each function, called in turn, and what each returned."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    results: dict[str, Turns] = {}
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.process_time()
            results[name] = function()
            times[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in times.items()}, results


def measure(args: argparse.Namespace, folder: Path, scale: float) -> dict[str, Any]:
    """One row: seconds of both, the ratio, and the share of equal answers."""
    count, tokens, repeats = (16, 24, 1) if args.quick else (80, 64, args.repeats)
    options = AnswerOptions(
        max_new_tokens=tokens,
        batch_size=args.batch_size,
        temperature_scale=scale,
    )
    engine = LocalEngine(folder, options, "cpu", "float32")
    questions = write_questions(count)
    ours(engine, questions[:2]), one_at_a_time(engine, questions[:1])
    functions = {
        "ours": lambda: ours(engine, questions),
        "baseline": lambda: one_at_a_time(engine, questions),
    }
    seconds, results = alternate(functions, repeats)
    same = [results["ours"][q.question_id] == results["baseline"][q.question_id] for q in questions]
    ratio = seconds["baseline"] / seconds["ours"]
    row = {
        "name": "greedy answers" if scale == 0 else "answers at the categories' temperatures",
        "ours": round(seconds["ours"], 2),
        "baseline": round(seconds["baseline"], 2),
        "ratio": round(ratio, 2),
        "unit": "s",
        "goal": GOAL if scale == 0 else None,
        "met": (ratio >= GOAL and all(same)) if scale == 0 else None,
        "tokens_per_second": round(2 * count * tokens / seconds["ours"]),
    }
    if scale == 0:
        row |= {"answers": count, "identical": sum(same)}
    return row


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write it where asked."""
    args = build_parser().parse_args(argv)
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        make_tokenizer().save_pretrained(name)
        make_model(SHAPE, torch.float32).save_pretrained(name)
        rows = [measure(args, Path(name), scale) for scale in (0.0, 1.0)]
    for row in rows:
        print(
            f"{row['name']:42} ours {row['ours']:8.2f} s  baseline {row['baseline']:8.2f} s  "
            f"{row['ratio']:6.2f}x  {row['tokens_per_second']} tokens/s"
        )
    print(
        f"identical greedy answers: {rows[0]['identical']} of {rows[0]['answers']}; "
        f"goal {GOAL}x with all identical: {'met' if rows[0]['met'] else 'not met'}"
    )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
