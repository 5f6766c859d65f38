"""The calls that docs/python.md shows, one after the other, as they stand there."""

import re
from pathlib import Path

import pytest
import tiny_models
from mt_bench_files import jsonl, questions

from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.logits.store import read_logits, read_provenance

PAGE = Path(__file__).resolve().parents[3] / "docs" / "python.md"
CHAT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}<eot>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def test_the_calls_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for seed, name in enumerate(("base", "first", "second", "other", "chat")):
        tiny_models.save(tmp_path / f"{name}-model", "llama", seed=seed)
    (tmp_path / "chat-model" / "chat_template.jinja").write_text(CHAT)
    write_dialogues(tmp_path / "dialogues.parquet", tiny_models.dialogues(6))
    jsonl(tmp_path / "question.jsonl", questions(2))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert (tmp_path / "merged-model" / "manifest.json").exists()
    assert read_provenance(tmp_path / "aligned.parquet")["rules"] == "mass"
    rows = read_logits(tmp_path / "aligned.parquet"), read_logits(tmp_path / "other.parquet")
    assert [row.ce for row in rows[0]] == [row.ce for row in rows[1]]
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith("[")
