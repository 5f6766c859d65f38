"""A checkpoint counts only when all of it is there."""

import pytest

from fusionchat.training.checkpointing import (
    is_complete,
    latest_complete,
    remove_incomplete,
    run_key,
    seal,
)


@pytest.fixture
def folder(tmp_path):
    for step in (2, 10, 9):
        checkpoint = tmp_path / f"checkpoint-{step}"
        (checkpoint / "global_step").mkdir(parents=True)
        (checkpoint / "optimizer.pt").write_bytes(b"x" * step)
        (checkpoint / "global_step" / "rank0").write_bytes(b"y")
        seal(checkpoint)
    return tmp_path


def test_the_highest_complete_step_is_taken(folder):
    assert latest_complete(folder).name == "checkpoint-10"
    (folder / "checkpoint-10" / "manifest.json").unlink()
    assert latest_complete(folder).name == "checkpoint-9"
    (folder / "checkpoint-9" / "optimizer.pt").write_bytes(b"short")
    assert latest_complete(folder).name == "checkpoint-2"
    (folder / "checkpoint-2" / "global_step" / "rank0").unlink()
    assert latest_complete(folder) is None


def test_what_is_incomplete_is_removed(folder):
    (folder / "checkpoint-10" / "manifest.json").unlink()
    (folder / "checkpoint-10" / "optimizer.pt").unlink()
    remove_incomplete(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint-2", "checkpoint-9"]
    assert is_complete(folder / "checkpoint-9")
    remove_incomplete(folder / "missing")
    assert latest_complete(folder / "missing") is None


def test_the_key_changes_with_any_fact_and_not_with_their_order():
    facts = {"seed": 1, "fused": ["a" * 64], "loss": "ce"}
    assert run_key(facts) == run_key(dict(reversed(facts.items())))
    assert len(run_key(facts)) == 16
    for name, value in (("seed", 2), ("fused", ["b" * 64]), ("loss", "kl")):
        assert run_key(facts | {name: value}) != run_key(facts)
