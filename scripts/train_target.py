"""Fine-tune a target from the pivot on fused distributions, or on dialogues alone (CLM)."""

import argparse
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fusionchat import cli
from fusionchat.dialogues.options import (
    RenderingOptions,
    add_rendering_options,
    template_checksum,
)

PROGRAM = "train_target"
LOSS = ("clm_weight", "loss", "temperature", "tail")
TRAINING = ("epochs", "learning_rate", "scheduler", "warmup_ratio", "weight_decay")
TRAINING += ("max_grad_norm", "global_batch_size", "micro_batch_size", "batching", "seed")
TRAINING += ("bf16", "gradient_checkpointing", "save_steps", "optimizer", "fit_memory")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--pivot-model", type=cli.existing_path, required=True, help="Hugging Face folder")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--fused", type=cli.existing_path, nargs="+", help="fused stores (shards)")
    data.add_argument(
        "--dialogues", type=cli.existing_path, nargs="+", help="dialogue shards, for plain CLM"
    )
    add("--output", type=cli.output_folder, required=True, help="folder of the target")
    add("--checkpoints", type=Path, required=True, help="folder for checkpoints, not an output")
    cli.add_settings(parser.add_argument_group("loss"), "training", *LOSS)
    train = parser.add_argument_group("training")
    cli.add_settings(train, "training", *TRAINING)
    cli.add_settings(train, "data", "max_length")
    train.add_argument("--deepspeed", type=cli.existing_path, help="DeepSpeed config (JSON)")
    train.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    train.add_argument("--devices", type=cli.positive_int, help="processes that must take part")
    add_rendering_options(parser)  # used with --dialogues
    return parser


def world_size() -> int:
    """Processes that train together; torchrun says so."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def choose_device(wanted: str | None, processes: int | None) -> str:
    """The device to train on; refuses one that is missing, or another number of processes."""
    import torch

    from fusionchat.errors import UserError
    from fusionchat.hardware import check_gpus

    if processes is not None and world_size() != processes:
        raise UserError(
            f"--devices {processes}: {world_size()} processes were started; check torchrun"
        )
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device; use --device cpu or check")
    if wanted == "cuda":
        check_gpus(torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if wanted != "cpu" and torch.cuda.device_count() > 1 and world_size() == 1:
        raise UserError(
            f"{torch.cuda.device_count()} GPUs are visible to one process; start it with torchrun "
            "--nproc-per-node, or show it one GPU by CUDA_VISIBLE_DEVICES"
        )
    return wanted or ("cuda" if torch.cuda.is_available() else "cpu")


def load_examples(args: argparse.Namespace, tokenizer: Any, config: Any) -> Any:
    """The training examples in the order of the shards; useless or foreign ones are refused."""
    from fusionchat.dialogues.dialogue import read_dialogues
    from fusionchat.dialogues.renderer import make_renderer
    from fusionchat.errors import UserError
    from fusionchat.logits.imported import check_full_vocabulary
    from fusionchat.logits.store import check_shards, read_logits
    from fusionchat.readers.parquet import check_disjoint
    from fusionchat.training.collator import Examples, example_from_fused, example_from_tokens

    examples = Examples()
    check_shards(args.fused or (), ("candidates", "function", "level", "top_k"))
    check_disjoint(args.fused or args.dialogues)
    for path in args.fused or ():
        if args.tail:
            check_full_vocabulary(path, "--tail needs")
        examples.extend(example_from_fused(row, args.max_length) for row in read_logits(path))
    if args.dialogues:
        rendering = cli.options_of(RenderingOptions, args)
        renderer = make_renderer(tokenizer, rendering, args.pivot_model)
    for path in args.dialogues or ():
        examples.extend(
            example_from_tokens(renderer.encode(one), args.max_length)
            for one in read_dialogues(path)
        )
    places = ", ".join(map(str, args.fused or args.dialogues))
    if not len(examples):
        raise UserError(f"{places}: no dialogue has a response within --max-length")
    if examples.highest_id() >= config.vocab_size:
        raise UserError(
            f"{places}: token {examples.highest_id()} is beyond the pivot's vocabulary of "
            f"{config.vocab_size}; fuse distributions that were transferred to this pivot"
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions and max(examples.lengths()) > positions:
        raise UserError(
            f"{places}: a dialogue has {max(examples.lengths())} tokens, the pivot "
            f"{args.pivot_model} has {positions} positions; use --max-length {positions}"
        )
    return examples


def learnt_end(args: argparse.Namespace, tokenizer: Any) -> int:
    """The id that ends a turn in the training data: as they were dumped, or as it is rendered."""
    from fusionchat.dialogues.end_of_turn import end_of_turn
    from fusionchat.logits.store import read_provenance
    from fusionchat.models.generation_config import generation_ends

    named = args.end_of_turn
    if args.fused:
        pivot, *_ = read_provenance(args.fused[0]).get("inputs") or [{}]
        named = pivot.get("end_of_turn", named)
    ends = generation_ends(args.pivot_model)
    return tokenizer.convert_tokens_to_ids(end_of_turn(tokenizer, ends, named))


def run_facts(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that defines the run: arguments, and checksums of what it reads."""
    from fusionchat.files import sha256
    from fusionchat.models.finished import fingerprint

    places = ("output", "checkpoints", "threads", "save_steps", "device", "devices", "fit_memory")
    facts = {name: value for name, value in vars(args).items() if name not in places}
    facts["template_sha256"] = template_checksum(args.template)
    for name in ("pivot_model", "template_model"):
        facts[name] = facts[name] and fingerprint(facts[name])
    for name in ("fused", "dialogues"):
        facts[name] = facts[name] and [sha256(path) for path in facts[name]]
    facts["deepspeed"] = args.deepspeed and sha256(args.deepspeed)
    facts["processes"] = world_size()
    return facts


def training_arguments(args: argparse.Namespace, folder: Path, device: str) -> Any:
    """The Trainer's settings; the global batch does not depend on the number of processes."""
    from transformers import TrainingArguments

    from fusionchat.training.memory import OPTIMIZERS
    from fusionchat.training.trainer import accumulation_steps
    from fusionchat.training.zero import zero_config

    return TrainingArguments(
        output_dir=os.fspath(folder),
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.micro_batch_size,
        gradient_accumulation_steps=accumulation_steps(
            args.global_batch_size, args.micro_batch_size, world_size()
        ),
        optim=OPTIMIZERS[args.optimizer],
        learning_rate=args.learning_rate,
        lr_scheduler_type=args.scheduler,
        warmup_steps=min(args.warmup_ratio, 1 - 1e-9),  # 1 and more would count steps
        weight_decay=args.weight_decay,
        max_grad_norm=args.max_grad_norm,
        seed=args.seed,
        bf16=args.bf16 and not args.deepspeed,
        use_cpu=device == "cpu",
        activation_checkpointing=args.gradient_checkpointing,
        deepspeed=args.deepspeed and zero_config(args.deepspeed, args.bf16),
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=args.save_steps,
        save_total_limit=2,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        report_to="none",
        log_level="warning",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train or resume, save and audit."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import torch

    device = choose_device(args.device, args.devices)
    from fusionchat.locks.runs import only_run
    from fusionchat.models.processes import is_first_process
    from fusionchat.output_folder import hidden, output_folder
    from fusionchat.training import memory

    memory.check(args.optimizer, args.fit_memory, args.deepspeed, device, world_size())
    torch.set_num_threads(args.threads)
    inputs = [args.pivot_model, *(args.fused or args.dialogues)]
    if is_first_process():
        alone = only_run(hidden(args.checkpoints, "lock"), args.checkpoints, PROGRAM)
        with output_folder(args.output, PROGRAM, inputs) as folder, alone:
            step = partial(train, args, device, folder)
            checkpoints = memory.fit(step, args.micro_batch_size) if args.fit_memory else step()
        shutil.rmtree(checkpoints, ignore_errors=True)
    else:
        train(args, device, None)


def train(
    args: argparse.Namespace, device: str, output: Path | None, micro_batch: int | None = None
) -> Path:
    """Train or resume; the first process, which has an `output`, saves and audits there.

    `micro_batch` takes the place of the one in `args`.

    Returns the folder of this run's checkpoints.
    """
    from fusionchat.files import write_manifest
    from fusionchat.models.loading import check_weights
    from fusionchat.models.model_config import load_config
    from fusionchat.models.tokenizer import check_vocabulary, load_tokenizer
    from fusionchat.training import checkpointing, fused_forward, target_folder, zero
    from fusionchat.training import trainer as training
    from fusionchat.training.collator import Collator

    args.micro_batch_size = micro_batch or args.micro_batch_size
    if args.deepspeed:
        zero.prepare(device)
        check_weights(args.pivot_model)  # ZeRO-3, once it is on, places weights as it reads them
    facts = run_facts(args)
    folder = args.checkpoints / checkpointing.run_key(facts)
    settings = training_arguments(args, folder, device)
    tokenizer = load_tokenizer(args.pivot_model)
    config = load_config(args.pivot_model)
    check_vocabulary(config, tokenizer, args.pivot_model)
    end = learnt_end(args, tokenizer)
    examples = load_examples(args, tokenizer, config.get_text_config())
    model = target_folder.load_float32(args.pivot_model)
    options = fused_forward.LossOptions(args.clm_weight, args.loss, args.temperature, args.tail)
    fused_forward.install(model, options, packed=args.batching == "packed")
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    trainer = training.FusionTrainer(model, settings, examples, Collator(pad, args.batching))
    trainer.add_callback(checkpointing.StopOnSignal())
    with settings.main_process_first(local=False):
        if output:
            checkpointing.remove_incomplete(folder)
    training.train(trainer, checkpointing.agreed_checkpoint(folder))
    state = zero.full_weights(trainer)
    training.disconnect(trainer)  # the others need not wait, nor time out, while the first saves
    if output:
        target_folder.save_target(model, args.pivot_model, output, state, end)
        del state  # the audit loads all of it once more
        training.write_curve(output / "loss.csv", trainer.state.log_history)
        counts = target_folder.audit_target(output, args.pivot_model)
        write_manifest(output, PROGRAM, run=facts, dialogues=len(examples), **counts)
    return folder


if __name__ == "__main__":
    cli.run(main)
