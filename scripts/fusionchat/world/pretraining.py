"""Training the scale model's source models from scratch: three architectures, one loop."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import make_renderer
from fusionchat.progress import progress

ARCHITECTURES = {"mistral": MistralConfig, "llama": LlamaConfig, "mixtral": MixtralConfig}

MAX_POSITIONS = 512


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; `experts` counts for Mixtral only (two of them see each token)."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    intermediate_size: int
    experts: int


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: steps of `batch_size` dialogues, cosine after warm-up."""

    steps: int
    batch_size: int
    learning_rate: float
    seed: int


def build_model(
    architecture: str,
    shape: Shape,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """A randomly initialised model for the tokenizer; equal seeds give equal weights.

    The usual standard deviation of 0.02 suits wide models; with a hidden size of about 100 models
    learn several times faster from 1 / sqrt(hidden size).
    """
    sizes: dict[str, Any] = {
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate_size,
    }
    if architecture == "mixtral":
        sizes |= {"num_local_experts": shape.experts, "num_experts_per_tok": 2}
    if architecture == "mistral":
        sizes["sliding_window"] = None
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        ARCHITECTURES[architecture](
            vocab_size=len(tokenizer),
            max_position_embeddings=MAX_POSITIONS,
            tie_word_embeddings=False,
            initializer_range=shape.hidden_size**-0.5,
            **sizes,
            **special_ids(tokenizer),
        ),
        dtype=dtype,
    )
    model.generation_config = GenerationConfig(do_sample=False, **special_ids(tokenizer))
    return model


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The ids that configurations name: begin, end of turn, padding."""
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def encode_all(
    tokenizer: PreTrainedTokenizerBase, dialogues: Iterable[Dialogue], template: str
) -> list[dict[str, torch.Tensor]]:
    """Token ids and labels (-100 outside responses) of each dialogue, int64 [L]."""
    renderer = make_renderer(tokenizer, RenderingOptions(template))
    rows = []
    for dialogue in dialogues:
        encoded = renderer.encode(dialogue)
        rows.append(
            {
                "input_ids": torch.from_numpy(encoded.input_ids).long(),
                "labels": torch.from_numpy(encoded.labels()),
            }
        )
    return rows


def pad_batch(rows: Sequence[dict[str, torch.Tensor]], padding: int) -> dict[str, torch.Tensor]:
    """Right-padded batch [rows, longest]: `input_ids`, `labels`, `attention_mask`."""

    def padded(key: str, value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(
            [row[key] for row in rows], batch_first=True, padding_value=value
        )

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    ids = padded("input_ids", padding)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "labels": padded("labels", -100), "attention_mask": mask}


class LossBar(TrainerCallback):
    """A progress bar with the loss, and the losses for a file."""

    def __init__(self) -> None:
        self.losses: list[tuple[int, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the bar."""
        self.bar = progress(total=state.max_steps, desc="training", unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance the bar."""
        self.bar.update()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Keep and show the mean loss since the last report."""
        if logs and "loss" in logs:
            self.losses.append((state.global_step, float(logs["loss"])))
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        self.bar.close()


def train(
    model: PreTrainedModel,
    rows: list[dict[str, torch.Tensor]],
    padding: int,
    schedule: Schedule,
    workspace: Path,
) -> list[tuple[int, float]]:
    """Train on response tokens with AdamW; returns (step, mean loss of the steps since the last).

    `workspace` is a folder for the Trainer, which writes nothing into it here. On a fixed number
    of threads the result depends on the arguments alone.
    """
    bar = LossBar()
    trainer = Trainer(
        model=model,
        args=_arguments(schedule, workspace),
        train_dataset=rows,
        data_collator=lambda batch: pad_batch(batch, padding),
        callbacks=[bar],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return bar.losses


def _arguments(schedule: Schedule, workspace: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(workspace),
        max_steps=schedule.steps,
        per_device_train_batch_size=schedule.batch_size,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(0.05 * schedule.steps),
        weight_decay=0.01,
        max_grad_norm=1.0,
        adam_beta2=0.99,
        seed=schedule.seed,
        logging_steps=20,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        dataloader_num_workers=0,
        remove_unused_columns=False,
    )
