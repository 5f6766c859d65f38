"""Downloads at a locked commit, from a server on 127.0.0.1."""

import hashlib
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mt_bench_files import answers, benchmark, jsonl

import fetch_questions
from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.mt_bench import fetching

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(SimpleHTTPRequestHandler):
    asked: Counter
    failures: dict

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        self.asked[name] += 1
        failure = self.failures.get(name, [])
        if failure:
            kind = failure.pop(0)
            if kind == "half":
                self.send_response(200)
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.write(b"half")
            else:
                self.send_error(int(kind))
            return
        super().do_GET()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The benchmark's files below a commit, served; (options, handler class)."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: None)
    local = tmp_path / "local"
    local.mkdir()
    benchmark(local, 8)
    options = [f"--commit={COMMIT}", f"--output={tmp_path / 'data'}"]
    for name, path in fetching.PATHS.items():
        target = tmp_path / "site" / COMMIT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = (local / name).read_bytes()
        target.write_bytes(data)
        options.append(f"--sha256={name}={hashlib.sha256(data).hexdigest()}")
    handler = type("Handler", (Handler,), {"asked": Counter(), "failures": {}})
    made = partial(handler, directory=str(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), made)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield [*options, f"--base-url=http://127.0.0.1:{server.server_port}"], handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_are_fetched_checked_and_recorded(site, tmp_path):
    options, _ = site
    fetch_questions.main(options)
    for name in fetching.PATHS:
        found = (tmp_path / "data" / name).read_bytes()
        assert found == (tmp_path / "local" / name).read_bytes()
    manifest = read_json(tmp_path / "data" / "manifest.json")
    assert manifest["origin"].endswith(COMMIT)
    assert set(manifest["files"]) == set(fetching.PATHS)


def test_broken_downloads_are_tried_again(site, tmp_path):
    options, handler = site
    handler.failures = {"question.jsonl": ["503", "half"], "judge_prompts.jsonl": ["429"]}
    fetch_questions.main(options)
    assert handler.asked["question.jsonl"] == 3
    assert (tmp_path / "data" / "manifest.json").exists()


def test_a_changed_file_is_refused_and_nothing_is_left(site, tmp_path):
    options, _ = site
    changed = tmp_path / "site" / COMMIT / fetching.PATHS["question.jsonl"]
    changed.write_text(changed.read_text() + "\n")
    with pytest.raises(UserError, match="locked"):
        fetch_questions.main(options)
    assert not (tmp_path / "data").exists()
    assert list(tmp_path.glob(".data*")) == []


def test_a_missing_file_is_not_tried_again(site):
    options, handler = site
    handler.failures = {"question.jsonl": ["404"]}
    with pytest.raises(UserError, match="status 404"):
        fetch_questions.main(options)
    assert handler.asked["question.jsonl"] == 1


def test_another_commit_needs_checksums(tmp_path):
    with pytest.raises(UserError, match="needs checksums of judge_prompts"):
        fetch_questions.main([f"--commit={COMMIT}", f"--output={tmp_path}", "--references=."])
    with pytest.raises(UserError, match="not a full commit"):
        fetch_questions.main(["--commit=main", f"--output={tmp_path}"])


def test_corrected_references_replace_the_published_ones(site, tmp_path):
    options, handler = site
    corrected = jsonl(tmp_path / "corrected.jsonl", answers("me", 8))
    chosen = [o for o in options if "references.jsonl=" not in o]
    fetch_questions.main([*chosen, f"--references={corrected}"])
    assert (tmp_path / "data" / "references.jsonl").read_bytes() == corrected.read_bytes()
    assert handler.asked["gpt-4.jsonl"] == 0
    manifest = read_json(tmp_path / "data" / "manifest.json")
    assert manifest["references"] == str(corrected)


def test_a_local_folder_in_fastchats_layout(site, tmp_path):
    _, handler = site
    source = tmp_path / "site" / COMMIT / fetching.DATA
    fetch_questions.main([f"--questions={source}", f"--output={tmp_path / 'data'}"])
    assert not handler.asked
    expected = (tmp_path / "local" / "references.jsonl").read_bytes()
    assert (tmp_path / "data" / "references.jsonl").read_bytes() == expected
    with pytest.raises(UserError, match="holds none of"):
        fetch_questions.main([f"--questions={tmp_path}", f"--output={tmp_path / 'data'}"])
