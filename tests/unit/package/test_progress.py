"""Bars of running jobs: readable in logs, and from there a line each on the screen."""

import io
import os
import sys
import threading
import time

import pytest

from fusionchat import progress


@pytest.fixture
def log(monkeypatch):
    """What a program's bars write into a log, every update of them."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.0)
    return stream


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_running_job_is_a_line_with_what_is_done_the_rate_and_the_time_left(log, tmp_path):
    bar = progress.progress(
        total=40, desc="qwen", unit="dialogue", bar_format=progress.IN_PARTS, file=log
    )
    for _ in range(31):
        bar.update(8 / 31)  # a batch of eight, layer by layer
    write(tmp_path, "dump_logits/qwen/0000.log", "12:00:00 loading\n" + log.getvalue())
    ((name, line),) = progress.bars(tmp_path, since=0)
    assert name == "dump_logits/qwen/0000"
    assert line.startswith("dump_logits/qwen/0000: 8/40, ")
    assert line.endswith(" left")
    assert " dialogue/s" in line


@pytest.mark.filterwarnings("error")
def test_parts_that_add_up_to_more_than_all_are_no_warning_in_the_log(log):
    with progress.progress(total=1, bar_format=progress.IN_PARTS, file=log) as bar:
        for _ in range(9):
            bar.update(1 / 9)  # 1.0000000000000002 in the end
    assert "100%" in log.getvalue()
    assert "1/1 [" in log.getvalue()


def test_a_count_without_an_end_has_no_time_left(log, tmp_path):
    bar = progress.progress(desc="fuse", unit="dialogue", file=log)
    bar.update(7)
    write(tmp_path, "fuse.log", log.getvalue())
    ((_, line),) = progress.bars(tmp_path, since=0)
    assert line.startswith("fuse: 7 dialogue, ")
    assert "left" not in line


def test_finished_bars_old_logs_and_other_text_say_nothing(log, tmp_path):
    bar = progress.progress(total=1, desc="done", file=log)
    bar.update(1)
    write(tmp_path, "done.log", log.getvalue())
    write(tmp_path, "words.log", "lists [1, 2] of 50% | more [text, here]\n")
    write(tmp_path, "old.log", "x:  10%|#  | 1/10 [00:01<00:09,  1.00it/s]")
    os.utime(tmp_path / "old.log", (0, 0))
    assert list(progress.bars(tmp_path, since=time.time() - 60)) == []


def test_the_screen_hears_of_running_jobs_once_for_each_change(monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "SCREEN_INTERVAL", 0.02)
    said, heard = [], threading.Event()

    def say(line):
        said.append(line)
        heard.set()

    progress.show_running_jobs(str(tmp_path / "logs"), say)
    for done in (1, 2):
        bar = f"x:  {done}0%|#  | {done}/10 [00:01<00:09,  1.00it/s]"
        write(tmp_path, "logs/answer/clm.log", bar)
        os.utime(tmp_path / "logs/answer/clm.log", (time.time() + 60,) * 2)
        assert heard.wait(timeout=30)
        heard.clear()
    assert said == [f"answer/clm: {done}/10, 1.00it/s, 00:09 left" for done in (1, 2)]
