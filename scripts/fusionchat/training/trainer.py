"""Fine-tuning a target from the pivot with the Hugging Face Trainer (section 4.2 of the paper)."""

import csv
import logging
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ProgressCallback

from fusionchat.errors import UserError
from fusionchat.progress import IN_PARTS, progress
from fusionchat.training.checkpointing import seal
from fusionchat.training.collator import Collator, EpochLoader, Examples, GlobalBatchSampler

CURVE = ("step", "loss", "clm", "fusion", "learning_rate", "response_tokens")


def accumulation_steps(global_batch: int, micro_batch: int, world_size: int) -> int:
    """Micro-batches a process and step; a global batch that cannot be split is a `UserError`."""
    together = micro_batch * world_size
    if global_batch % together:
        raise UserError(
            f"--global-batch-size {global_batch} is not a multiple of --micro-batch-size "
            f"{micro_batch} x {world_size} processes; choose sizes that divide it"
        )
    return global_batch // together


class FusionTrainer(Trainer):
    """The Trainer with our batches, our loss per response token, and the loss's parts in the log.

    The model must have been prepared by `fused_forward.install`. The loss of a step is the sum
    over all its response tokens, of all micro-batches and processes, divided by their number.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        examples: Examples,
        collator: Collator,
    ):
        super().__init__(model=model, args=args, train_dataset=examples, data_collator=collator)
        self.model_accepts_loss_kwargs = True
        self._sums = torch.zeros(3, dtype=torch.float64, device=args.device)

    def get_train_dataloader(self) -> EpochLoader:
        """Batches of this process; accelerate must not shard them again."""
        args = self.args
        sampler = GlobalBatchSampler(
            self.train_dataset.lengths(),
            global_batch=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            micro_batch=args.train_batch_size,
            rank=args.process_index,
            world_size=args.world_size,
            seed=args.seed,
        )
        return EpochLoader(
            self.train_dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.device.type == "cuda",
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The micro-batch's share of the step's mean loss a response token.

        Gradients are averaged over processes, hence the factor.
        """
        outputs = model(**inputs)
        parts = torch.stack([outputs["clm"], outputs["fusion"]]).detach().double()
        self._sums[:2] += parts
        self._sums[2] += len(inputs["targets"])
        items = torch.as_tensor(num_items_in_batch, device=parts.device).clamp(min=1)
        loss = outputs["loss"] * (self.accelerator.num_processes / items)
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the loss's parts to a step's log; a loss that is not finite ends the training."""
        if "loss" in logs:
            sums = self._sums
            if self.args.world_size > 1:
                sums = self.accelerator.reduce(sums, reduction="sum")
            clm, fusion, tokens = sums.tolist()
            self._sums.zero_()
            logs |= {"clm": clm / max(tokens, 1), "fusion": fusion / max(tokens, 1)}
            logs["response_tokens"] = int(tokens)
            if not math.isfinite(logs["loss"]):
                raise UserError(
                    f"the loss at step {self.state.global_step} is {logs['loss']}; lower "
                    "--learning-rate or look for broken logits"
                )
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model into a checkpoint; a DeepSpeed checkpoint holds the weights already."""
        if not self.is_deepspeed_enabled:
            super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")


class Bar(TrainerCallback):
    """One progress bar: steps, loss parts, response tokens a second."""

    def __init__(self) -> None:
        self._bar = progress(disable=True)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar on the first process, at the step that training resumes from."""
        self._start, self._tokens = time.monotonic(), 0
        self._bar = progress(
            total=state.max_steps,
            initial=state.global_step,
            desc="train",
            unit="step",
            bar_format=IN_PARTS,
            disable=not state.is_world_process_zero,
        )

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move on by a micro-batch: a step of many may take minutes."""
        self._bar.update(1 / args.gradient_accumulation_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Move the bar on."""
        if logs is None or "clm" not in logs:
            return
        self._tokens += round(logs["response_tokens"])
        rate = self._tokens / (time.monotonic() - self._start)
        parts = {name: f"{logs[name]:.4f}" for name in ("loss", "clm", "fusion")}
        self._bar.set_postfix(parts | {"tokens/s": f"{rate:.0f}"}, refresh=False)
        self._bar.update(state.global_step - self._bar.n)

    def close(self) -> None:
        """Close the bar, so that what is printed next begins a line of its own."""
        self._bar.close()


def write_curve(path: Path, history: Sequence[dict[str, float]]) -> None:
    """The loss curve as csv, one row a step; it holds no times, so equal work gives equal bytes."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, CURVE, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(entry for entry in history if "clm" in entry)


def train(trainer: FusionTrainer, resume_from: Path | None) -> None:
    """Run or resume the training; one that does not reach its last step is a `UserError`.

    The Trainer returns normally after a stop, so the steps are compared.
    """
    bar, failure = Bar(), ""
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(bar)
    try:
        trainer.train(
            resume_from_checkpoint=None if resume_from is None else os.fspath(resume_from)
        )
    except UserError as error:
        failure = str(error)  # not the error itself: its traceback holds the parallel wrapper
    finally:
        bar.close()
    done, wanted = trainer.state.global_step, trainer.state.max_steps
    if done < wanted and not failure:
        failure = (
            f"stopped at step {done} of {wanted}; its checkpoint is in {trainer.args.output_dir}, "
            "the same command goes on from there"
        )
    if failure:
        disconnect(trainer)
        raise UserError(failure)
    logging.info("trained %d steps", done)


def disconnect(trainer: FusionTrainer) -> None:
    """Part from the other processes; call it on all of them at once, the training being over.

    The parallel wrapper must be gone before its process group: a wrapper that is the last to hold
    the group joins gloo's threads under Python's lock, for which these threads may be waiting.
    """
    trainer.model_wrapped = trainer.model
    trainer.accelerator.free_memory()
    trainer.accelerator.end_training()
