"""Scoring dialogues from Python: a function for each program, with typed options."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusionchat.dialogues.dialogue import Dialogue, read_dialogues
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import Renderer, open_renderer
from fusionchat.files import sha256
from fusionchat.logits import dump
from fusionchat.logits.parts import Parts, report
from fusionchat.logits.steps import Steps
from fusionchat.logits.store import STEPS
from fusionchat.models import loading, processes, token_table
from fusionchat.models.causal_lm import CausalLM
from fusionchat.models.finished import fingerprint
from fusionchat.models.model_config import load_config
from fusionchat.models.token_table import TokenTable
from fusionchat.models.tokenizer import check_vocabulary
from fusionchat.progress import IN_PARTS, progress

if TYPE_CHECKING:
    from tqdm import tqdm


@dataclass(frozen=True)
class ForwardOptions:
    """Which model reads which dialogues, how they are rendered, in what batches, and where.

    `token_budget`: padded tokens of a batch; `devices` that share the model.
    """

    model: Path
    dialogues: Path
    rendering: RenderingOptions = field(default_factory=RenderingOptions)
    token_budget: int = 16_384
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    device: Literal["cpu", "cuda"] = "cpu"
    devices: int = 1


@dataclass(frozen=True)
class DumpOptions:
    """The entries of a distribution that are kept, the longest dialogue that is scored (None: what
    the model takes), and the dialogues that a kill can cost.

    `exact_steps_for`: folder of the pivot whose tokenizer the distributions will be transferred to;
    they then come with the masses that make the transfer's steps exact (None: lists alone).
    """

    top_k: int = 10
    max_length: int | None = None
    part: int = 1024
    exact_steps_for: Path | None = None


def dump_logits(
    forward: ForwardOptions, output: Path, options: DumpOptions = DumpOptions()
) -> dict[str, Any]:
    """Write the logit store `output`, part by part; called again after a kill, it goes on.

    Returns counts, and what was not scored; where several processes share the model, only the
    first writes, and the others return nothing.
    """
    dialogues, model, renderer = _open(forward)
    table = token_table.load(forward.model, renderer.end_of_turn)
    steps, steps_of = _steps(table, options.exact_steps_for)
    limits = [length for length in (options.max_length, model.max_length) if length]
    settings = dump.Settings(forward.token_budget, options.top_k, min(limits, default=None))
    provenance = {
        "model": forward.model.name,
        "model_files": fingerprint(forward.model),
        "vocabulary": table.fingerprint,
        "vocab_size": model.vocab_size,
        "dialogues": sha256(forward.dialogues),
        "dtype": forward.dtype,
        "device": forward.device,
        "devices": forward.devices,
        "part": options.part,
        **asdict(settings),
        **renderer.facts(),
        **steps_of,
    }
    extra = {field.name: field.type for field in STEPS} if steps else None
    store, starts = Parts(output, provenance, extra), range(0, len(dialogues), options.part)
    first = processes.is_first_process()
    missing = processes.from_first_process(store.missing(len(starts)) if first else None)
    chunks = {index: dialogues[starts[index] : starts[index] + options.part] for index in missing}
    total = sum(map(len, chunks.values()))
    with _bar(forward, total) as bar:
        for index, chunk in chunks.items():
            rows = dump.dump(model, renderer, chunk, settings, bar.update, steps)
            if first:
                store.write(index, rows)
    processes.part_from_others()
    if not first:
        return {}
    store.finish(len(starts))
    return report(output)


def _steps(source: TokenTable, pivot: Path | None) -> tuple[Steps | None, dict[str, str]]:
    """What exact steps need, and what the store says of them; nothing for equal tokenizers."""
    if pivot is None:
        return None, {}
    table = token_table.load(pivot)
    if token_table.equal(source, table):
        return None, {}
    return Steps.of(source, table), {"exact_steps": table.identity}


def measure_nll(forward: ForwardOptions) -> dict[str, Any]:
    """Nats a response token and byte over all dialogues, and of each; see `dump.measure_nll`."""
    dialogues, model, renderer = _open(forward)
    settings = dump.Settings(forward.token_budget, max_length=model.max_length)
    with _bar(forward, len(dialogues)) as bar:
        facts = dump.measure_nll(model, renderer, dialogues, settings, bar.update)
    processes.part_from_others()
    if facts["unusable"]:
        logging.warning("%d dialogues could not be scored", len(facts["unusable"]))
    return facts


def _bar(forward: ForwardOptions, total: int) -> "tqdm[Any]":
    """The first process's bar; it moves while a batch, which may take minutes, is on its way."""
    first = processes.is_first_process()
    name = forward.model.name
    return progress(total=total, desc=name, unit="dialogue", bar_format=IN_PARTS, disable=not first)


def _open(forward: ForwardOptions) -> tuple[list[Dialogue], CausalLM, Renderer]:
    """What the options name; the model, which takes longest, last."""
    dialogues = read_dialogues(forward.dialogues)
    renderer = open_renderer(forward.model, forward.rendering)
    check_vocabulary(load_config(forward.model), renderer.tokenizer, forward.model)
    model = loading.load_causal_lm(forward.model, forward.dtype, forward.device, forward.devices)
    return dialogues, model, renderer
