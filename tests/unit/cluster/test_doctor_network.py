"""What the doctor asks the hub, the web and judges for."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from doctor_findings import experiment_of, failed

from fusionchat.cluster.doctor import checks as doctor


@pytest.fixture
def server():
    """An HTTP server on this machine: path to (status, JSON); it notes the keys that it is sent."""
    answers, keys = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(answers.get(self.path, (404, {}))[0])
            self.end_headers()

        def do_GET(self):
            keys.append(self.headers.get("Authorization"))
            status, content = answers.get(self.path, (404, {}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=running.serve_forever, daemon=True).start()
    running.url, running.answers, running.keys = (
        f"http://127.0.0.1:{running.server_port}",
        answers,
        keys,
    )
    yield running
    running.shutdown()
    running.server_close()


def test_the_hub_is_asked_for_everything_that_is_not_here(tmp_path, monkeypatch, server):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    wanted = doctor.from_hub(experiment_of("configs/released.yaml"), tmp_path)
    assert len(wanted) == 8 + 6  # models, and the data sets of the leaderboard's tasks
    assert "datasets/cais/mmlu" in wanted
    assert "models/FuseAI/FuseChat-7B-VaRM" in wanted
    data = "datasets/FuseAI/FuseChat-Mixture"
    assert data in doctor.from_hub(experiment_of("configs/paper.yaml"), tmp_path)
    (absent,) = [name for name in wanted if "VaRM" in name]
    for name, path in wanted.items():
        if name != absent:
            path.parent.mkdir(parents=True)
            path.write_text("{}")
    assert failed(doctor.hub(wanted))
    server.answers[f"/api/{absent}"] = (403, {})
    assert "HF_TOKEN" in failed(doctor.hub(wanted))["hub"]
    server.answers[f"/api/{absent}"] = (200, {})
    assert not failed(doctor.hub(wanted))
    wanted[absent].parent.mkdir(parents=True)
    wanted[absent].write_text("{}")
    server.shutdown()
    assert not failed(doctor.hub(wanted))


def test_every_file_with_a_fixed_address_is_asked_for(tmp_path, server):
    """MT-Bench's and AlpacaEval's, where the run takes them from the web, until they are here."""
    six = experiment_of("configs/six_sources.yaml")
    wanted = doctor.from_web(six, tmp_path)
    assert {Path(url).name for url in wanted} == {
        *("question.jsonl", "judge_prompts.jsonl", "gpt-4.jsonl"),
        *("alpaca_eval_clf.txt", "model_outputs.json", "df_gamed.csv"),
    }
    assert not doctor.from_web(experiment_of("config.yaml"), tmp_path)
    local = {f"{server.url}/{Path(url).name}": path for url, path in wanted.items()}
    server.answers |= {f"/{Path(url).name}": (200, {}) for url in wanted}
    assert not failed(doctor.web(local))
    del server.answers["/df_gamed.csv"]
    (finding,) = doctor.web(local)
    assert f"{server.url}/df_gamed.csv 404" in finding.found
    assert "snakemake fetched" in finding.fix
    assert "mt_bench.questions" not in finding.fix
    del server.answers["/question.jsonl"]
    (finding,) = doctor.web(local)
    assert "mt_bench.questions" in finding.fix
    for path in wanted.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    server.shutdown()
    assert not failed(doctor.web(local))


def test_published_answers_are_asked_for(tmp_path):
    assert "spaces/lmsys/mt-bench" in doctor.from_hub(experiment_of("configs/paper.yaml"), tmp_path)


def judge(url: str) -> dict:
    return {"judge j": {"kind": "openai", "model": "org/m", "base_url": url, "api_key_env": "K"}}


def test_a_judge_must_answer_and_serve_its_model(monkeypatch, server):
    monkeypatch.setenv("K", "secret-key")
    configured = judge(f"{server.url}/v1") | {"judge r": {"kind": "rule"}}
    assert "base_url" in failed(doctor.endpoints(configured))["judge j"]
    server.answers["/v1/models"] = (401, {})
    assert failed(doctor.endpoints(configured)) == {"judge j": "set K to a valid key"}
    server.answers["/v1/models"] = (200, {"data": [{"id": "other"}]})
    assert "other" in failed(doctor.endpoints(configured))["judge j"]
    server.answers["/v1/models"] = (200, {"data": [{"id": "other"}, {"id": "org/m"}]})
    assert not failed(doctor.endpoints(configured))
    assert set(server.keys) == {"Bearer secret-key"}


def test_the_key_of_a_judge_is_never_shown(monkeypatch):
    monkeypatch.setenv("K", "secret-key")
    report = doctor.report(list(doctor.endpoints(judge("http://127.0.0.1:9"))))
    assert "secret-key" not in report
    assert "ConnectError" in report
