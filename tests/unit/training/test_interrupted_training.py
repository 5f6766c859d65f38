"""A training that is stopped or killed goes on where it was, bit for bit."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from training_runs import (
    STEPS,
    Run,
    assert_close,
    bytes_of,
    strike,
    zero_options,
)

from fusionchat.training import target_folder
from fusionchat.training import trainer as training


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_interrupted_twice_and_resumed_equals_uninterrupted(data, reference, tmp_path, number):
    """Bit for bit: weights, loss curve and manifest."""
    chance = random.Random(int(number))
    run = Run(data, tmp_path)
    for micro_step in (chance.randint(2, 2 * STEPS - 4), chance.randint(1, 3)):
        assert run.run(strike(number, micro_step)) == (-9 if number == signal.SIGKILL else 1)
        assert not run.output.exists()
    assert run.run() == 0, run.log()
    assert bytes_of(run.output) == bytes_of(reference.output)


def test_sigterm_names_the_step_and_how_to_go_on(data, tmp_path):
    run = Run(data, tmp_path)
    assert run.run(strike(signal.SIGTERM, 5)) == 1
    assert f"stopped at step 3 of {STEPS}" in run.log()
    assert "Traceback" not in run.log()
    (checkpoint,) = run.checkpoints.glob("*/checkpoint-3")
    assert (checkpoint / "manifest.json").exists()


def test_killed_while_saving_a_checkpoint_resumes_from_the_one_before(data, reference, tmp_path):
    def patch():
        original = torch.save

        def save(value, path, *args, **kwargs):
            if "checkpoint-4/optimizer" in str(path):
                Path(path).write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            original(value, path, *args, **kwargs)

        torch.save = save

    run = Run(data, tmp_path)
    assert run.run(patch) == -9
    assert len(list(run.checkpoints.glob("*/checkpoint-4/optimizer.pt"))) == 1
    assert run.run() == 0, run.log()
    assert bytes_of(run.output) == bytes_of(reference.output)


def test_killed_after_the_last_step_saves_without_training_again(data, reference, tmp_path):
    run = Run(data, tmp_path)

    def patch():
        target_folder.audit_target = lambda *args: os.kill(os.getpid(), signal.SIGKILL)

    assert run.run(patch) == -9
    assert not run.output.exists()
    assert run.run(strike(signal.SIGKILL, 1)) == 0, run.log()
    assert bytes_of(run.output) == bytes_of(reference.output)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"target", "checkpoints"}


@pytest.mark.parametrize("zero", [None, "zero2", "zero3"])
def test_two_ranks_stop_together_and_resume(data, reference, tmp_path, zero):
    """Only one rank gets the signal; both save at the same step and leave when it is complete."""

    def patch():
        if os.environ["RANK"] == "1":
            strike(signal.SIGTERM, 9)()
        seal, disconnect = training.seal, training.disconnect

        def slow_seal(checkpoint):
            time.sleep(1)
            seal(checkpoint)

        def checked_disconnect(trainer):
            assert list(run.checkpoints.glob("*/checkpoint-3/manifest.json"))
            disconnect(trainer)

        training.seal, training.disconnect = slow_seal, checked_disconnect

    run = Run(data, tmp_path, "--micro-batch-size", "1", *zero_options(zero))
    assert run.run_ranks(2, patch) == [1, 1], run.log()
    assert "Traceback" not in run.log()
    assert run.run_ranks(2) == [0, 0], run.log()
    assert_close(run, reference, 1e-5)


def test_other_data_do_not_resume_from_a_foreign_checkpoint(data, tmp_path):
    run = Run(data, tmp_path)
    assert run.run(strike(signal.SIGTERM, 5)) == 1
    other = Run(data, tmp_path, "--seed", "7")
    assert other.run(strike(signal.SIGTERM, 1)) == 1
    assert len(list(run.checkpoints.iterdir())) == 2
    assert list(run.checkpoints.glob("*/checkpoint-1"))
