"""Output folders: whole or not there, one run at a time, nothing of anybody else's is touched."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import endangered_folders
import pytest
from endangered_folders import ENDANGERED, tree

from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, MARKER, atomic_file, remove_partials, write_manifest
from fusionchat.output_folder import check_output, output_folder

SCRIPTS = Path(endangered_folders.__file__).parents[2] / "scripts"


def write(path: Path, content: str = "weights", program: str = "merge_varm") -> None:
    with output_folder(path, program) as folder:
        (folder / "model.bin").write_text(content)
        write_manifest(folder, program)


def fail(path: Path) -> None:
    with output_folder(path, "merge_varm") as folder:
        assert os.listdir(folder) == [MARKER]
        (folder / "model.bin").write_text("half")
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", ENDANGERED)
def test_what_is_not_the_programs_own_is_refused_untouched(kind, tmp_path):
    output = tmp_path / "place" / "m"
    output.parent.mkdir()
    ENDANGERED[kind](output, "merge_varm")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"\bm\b"), output_folder(output, "merge_varm"):
        pytest.fail("the work began")
    assert tree(tmp_path) == before


def test_inputs_and_the_working_folder_are_refused(tmp_path, monkeypatch):
    pivot = tmp_path / "models" / "pivot"
    pivot.mkdir(parents=True)
    (tmp_path / "link").symlink_to(pivot)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for output in (pivot, pivot.parent, tmp_path / "link", tmp_path / "here", "..", "/"):
        with pytest.raises(UserError, match="would replace"):
            check_output(Path(output), "merge_varm", [pivot])
    assert check_output(pivot / "merged", "merge_varm", [pivot]) == pivot / "merged"


@pytest.mark.parametrize(
    "name", ["m/", "m/.", "x/../m", "a b/ü\nm ☃", "-m", "*", "m.", "..m", "m" * 200, ".m.lockfile"]
)
def test_any_name_may_be_written_twice(name, tmp_path):
    for _ in range(2):
        write(f"{tmp_path}/{name}")
    [found] = tree(tmp_path).keys() & {os.path.relpath(f"{tmp_path}/{name}", tmp_path)}
    assert sorted(os.listdir(tmp_path / found)) == [MARKER, MANIFEST, "model.bin"]
    hidden = [part for part in tree(tmp_path) if part.endswith((".lock", ".partial", ".replaced"))]
    assert not hidden


def test_a_folder_below_an_input_is_no_part_of_it(tmp_path):
    pivot = tmp_path / "pivot"
    endangered_folders.precious(pivot / "config.json")
    for _ in range(2):
        with output_folder(pivot / "m", "merge_varm", [pivot]) as folder:
            (folder / "model.bin").write_text("weights")
    assert sorted(os.listdir(pivot)) == ["config.json", "m"]


def test_a_working_folder_that_is_gone_stops_nobody(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    write(tmp_path / "m")
    assert (tmp_path / "m" / "model.bin").exists()


def test_absent_empty_and_its_own_folders_are_filled(tmp_path):
    absent, empty, own = (tmp_path / name for name in ("a/b/absent", "empty", "own"))
    empty.mkdir()
    write(own, "old")
    (own / MANIFEST).unlink()  # as Snakemake does before it runs the job again
    for output in (absent, empty, own, own):
        write(output, "new")
        assert sorted(os.listdir(output)) == [MARKER, MANIFEST, "model.bin"]
        assert (output / "model.bin").read_text() == "new"
    (own / MARKER).unlink()  # a copy without hidden files
    write(own, "newer")
    assert sorted(os.listdir(tmp_path)) == ["a", "empty", "own"]


def test_a_link_stays_and_the_folder_lies_where_it_points(tmp_path):
    disk = tmp_path / "disk"
    for content in ("first", "second"):  # at first the link dangles
        (tmp_path / "m").unlink(missing_ok=True)
        (tmp_path / "m").symlink_to(disk / "models" / "m")
        write(tmp_path / "m", content)
        assert (tmp_path / "m").is_symlink()
        assert (disk / "models" / "m" / "model.bin").read_text() == content
        assert os.listdir(disk / "models") == ["m"]


def test_a_folder_on_another_file_system(tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    place = other / f"fusionchat-{os.getpid()}"
    (tmp_path / "m").symlink_to(place / "m")
    try:
        write(tmp_path / "m")
        assert (place / "m" / "model.bin").exists()
    finally:
        subprocess.run(["rm", "-r", str(place)], check=True)
    with pytest.raises(UserError, match=r"is a mount point .* for example /dev/shm/model"):
        check_output(other, "merge_varm")


def test_a_failure_leaves_what_was_there(tmp_path):
    write(tmp_path / "old")
    before = tree(tmp_path)
    for output in (tmp_path / "old", tmp_path / "new" / "folder"):
        with pytest.raises(ZeroDivisionError):
            fail(output)
    assert tree(tmp_path) == before


def test_what_somebody_puts_there_meanwhile_is_kept(tmp_path):
    stopped = pytest.raises(UserError, match="was not made by")
    with stopped, output_folder(tmp_path / "m", "merge_varm"):
        endangered_folders.precious(tmp_path / "m" / "thesis.tex")
    assert list(tree(tmp_path)) == ["m", "m/thesis.tex"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_one_line(code, tmp_path):
    stopped = pytest.raises(UserError, match=rf"--output {tmp_path}/m cannot be written")
    with stopped, output_folder(tmp_path / "m", "merge_varm"):
        raise OSError(code, os.strerror(code))
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "m", "merge_varm"):
        (tmp_path / "pivot" / "config.json").read_text()  # not the output's fault
    with pytest.raises(ConnectionError), output_folder(tmp_path / "m", "merge_varm"):
        raise ConnectionError("offline mode is enabled")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_told_with_the_file(code, tmp_path):
    """What a write raises names none."""
    stopped = pytest.raises(OSError, match=rf"{tmp_path}/a\.json: {os.strerror(code)}")
    with stopped, atomic_file(tmp_path / "a.json"):
        raise OSError(code, os.strerror(code))
    assert tree(tmp_path) == {}


def test_a_signal_before_the_marker_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fusionchat.output_folder._write_marker", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_a_read_only_place_is_one_line(tmp_path):
    for place in ("/proc", "/sys"):
        with pytest.raises(UserError, match=rf"--output {place}/x/m cannot be written"):
            write(Path(place) / "x" / "m")
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match="cannot be written"):
            write(tmp_path / "m")
        tmp_path.chmod(0o700)
    assert tree(tmp_path) == {}


def test_neighbours_whose_names_begin_alike_do_not_meet(tmp_path):
    names = ("m", "m.v2", "m.v2.deadbeef", ".m", "m*", "[m]", "Llama-3", "Llama-3.1")
    blocks = [output_folder(tmp_path / name, "merge_varm") for name in names]
    for name, folder in zip(names, [block.__enter__() for block in blocks], strict=True):
        (folder / "model.bin").write_text(name)
    for block in blocks:
        block.__exit__(None, None, None)
    assert {path.name: (path / "model.bin").read_text() for path in tmp_path.iterdir()} == {
        name: name for name in names
    }
    with pytest.raises(UserError, match="a name for unfinished work"):
        check_output(tmp_path / ".m.partial", "merge_varm")


def test_partial_files_of_other_names_are_kept(tmp_path):
    with atomic_file(tmp_path / "0000.parquet.v2") as other:
        other.write_text("x")
        (tmp_path / ".0000.parquet.0123abcd.partial").write_text("killed")
        (tmp_path / ".0000.parquet.mine.partial").write_text("somebody's")
        remove_partials(tmp_path / "0000.parquet")
        assert other.exists()
    assert sorted(os.listdir(tmp_path)) == [".0000.parquet.mine.partial", "0000.parquet.v2"]


def test_the_second_run_to_one_name_stops(tmp_path):
    with output_folder(tmp_path / "m", "merge_varm") as folder:
        (folder / "model.bin").write_text("first")
        here = f"process {os.getpid()} on {socket.gethostname()}"
        for program in ("merge_varm", "merge_linear"):
            with pytest.raises(UserError, match=rf"m is being written by {here}; wait"):
                write(tmp_path / "m", "second", program)
        assert folder.exists()
    assert (tmp_path / "m" / "model.bin").read_text() == "first"


@pytest.mark.parametrize("locks", [True, False])
def test_what_dead_processes_left_is_recovered(locks, tmp_path, monkeypatch):
    """Lock, unfinished folder and a half exchange; with and without locks of the file system."""
    if not locks:

        def no_locks(descriptor, operation):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", no_locks)
    dead = subprocess.Popen(["true"])
    dead.wait()
    holder = {"package": "fusionchat", "host": socket.gethostname(), "process": dead.pid}
    write(tmp_path / "m", "old")
    write(tmp_path / "unfinished", "half")
    write(tmp_path / "other", "other")
    (tmp_path / "m").rename(tmp_path / ".m.replaced")
    (tmp_path / "unfinished").rename(tmp_path / ".m.partial")
    (tmp_path / "other").rename(tmp_path / ".m.v2.partial")
    (tmp_path / ".m.lock").write_text(json.dumps(holder))
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "m")
    assert (tmp_path / "m" / "model.bin").read_text() == "old"
    write(tmp_path / "m", "new")
    assert (tmp_path / "m" / "model.bin").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == [".m.v2.partial", "m"]


def test_without_locks_a_living_or_foreign_holder_is_believed(tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for host, process in ((socket.gethostname(), os.getpid()), ("another-node", 1)):
        holder = {"package": "fusionchat", "host": host, "process": process}
        (tmp_path / ".m.lock").write_text(json.dumps(holder))
        with pytest.raises(UserError, match=rf"by process {process} on {host}; .* delete .*lock"):
            write(tmp_path / "m")
        assert (tmp_path / ".m.lock").exists()


PROGRAM = """
import sys, time
from fusionchat import cli
from fusionchat.output_folder import output_folder

def main(argv):
    with output_folder(sys.argv[1], "merge_varm") as folder:
        (folder / "model.bin").write_text("half")
        print("working", flush=True)
        time.sleep(60)

cli.run(main)
"""


def working(output: Path, **options) -> subprocess.Popen:
    """A program that has begun to write to `output`."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(output)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_one_line_and_leaves_nothing(number, tmp_path):
    process = working(tmp_path / "a" / "m")
    process.send_signal(number)
    process.send_signal(signal.SIGTERM)  # a scheduler often follows a terminal's Ctrl-C
    _, said = process.communicate(timeout=30)
    first = signal.Signals(process.returncode - 128)  # they may arrive in either order
    assert first in (number, signal.SIGTERM)
    assert said == f"error: stopped by {first.name}\n"
    assert tree(tmp_path) == {}


SWALLOWING = """
import sys, time
from fusionchat import cli
from fusionchat.output_folder import output_folder

def main(argv):
    with output_folder(sys.argv[1], "merge_varm") as folder:
        try:
            print("working", flush=True)
            time.sleep(60)
        except BaseException:
            pass
        time.sleep(60)

cli.run(main)
"""


def test_a_library_that_swallows_the_stop_is_stopped_again(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PROGRAM", SWALLOWING)
    process = working(tmp_path / "m")
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert said == "error: stopped by SIGTERM\n"
    assert tree(tmp_path) == {}


def test_what_is_ignored_stays_ignored(tmp_path):
    """As under nohup."""
    ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    process = working(tmp_path / "m", preexec_fn=ignore)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    assert process.communicate(timeout=30)[1] == "error: stopped by SIGTERM\n"


def test_what_sigkill_left_goes_with_the_next_run_of_that_output(tmp_path):
    for name in ("m", "m.v2"):
        process = working(tmp_path / name)
        process.kill()
        process.communicate(timeout=30)
    assert len(tree(tmp_path)) == 8  # two locks, two folders of two files
    write(tmp_path / "m")
    assert sorted(os.listdir(tmp_path)) == [".m.v2.lock", ".m.v2.partial", "m"]
