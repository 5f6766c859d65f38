"""The answer program: records, resuming, other engines."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mt_bench_files import answers, jsonl, questions
from mt_bench_models import EOS, checkpoint
from mt_bench_models import tokenizer as make_tokenizer
from mt_bench_server import FakeModel, Fault, said, serve
from transformers import AutoTokenizer

import answer
import judge
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import make_renderer
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.answering.dialogue_engine import Completion
from fusionchat.mt_bench.answering.local_engine import LocalEngine
from fusionchat.mt_bench.answers import text_sha256


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def options(model, tmp_path):
    asked = jsonl(tmp_path / "question.jsonl", questions(16))
    return [
        f"--model={model}",
        "--model-id=tiny",
        f"--questions={asked}",
        "--max-new-tokens=12",
        "--dtype=float32",
        f"--output={tmp_path / 'answers' / 'tiny.jsonl'}",
    ]


def output(options):
    return next(o for o in options if o.startswith("--output=")).removeprefix("--output=")


def test_records_have_fastchats_fields_and_more(options):
    answer.main([*options, "--choices=2"])
    records = read_jsonl(output(options))
    assert [r["question_id"] for r in records] == list(range(81, 97))
    record = records[0]
    assert list(record) == ["question_id", "answer_id", "model_id", "choices", "tstamp"]
    assert record["model_id"] == "tiny"
    assert [c["index"] for c in record["choices"]] == [0, 1]
    assert all(len(c["turns"]) == len(c["prompt_sha256"]) == 2 for c in record["choices"])
    assert len({r["answer_id"] for r in records}) == 16
    assert EOS not in json.dumps([c["turns"] for r in records for c in r["choices"]])


def test_equal_work_gives_equal_bytes_whatever_the_batch(options, tmp_path):
    answer.main(options)
    first = (tmp_path / "answers" / "tiny.jsonl").read_bytes()
    answer.main([*options, "--batch-size=3"])
    assert (tmp_path / "answers" / "tiny.jsonl").read_bytes() == first
    answer.main([*options, "--seed=1"])
    assert (tmp_path / "answers" / "tiny.jsonl").read_bytes() != first
    assert [p.name for p in (tmp_path / "answers").iterdir()] == ["tiny.jsonl"]


def test_the_second_prompt_holds_the_first_answer(options, model):
    answer.main(options)
    tokenizer = AutoTokenizer.from_pretrained(model)
    ask = make_renderer(tokenizer, RenderingOptions("openchat_3.5"), training=False).prompt
    record, question = read_jsonl(output(options))[3], questions(16)[3]
    choice = record["choices"][0]
    prompts = [
        ask(question["turns"][:1]).text,
        ask([question["turns"][0], choice["turns"][0], question["turns"][1]]).text,
    ]
    assert choice["prompt_sha256"] == [text_sha256(p) for p in prompts]
    assert prompts[1].startswith(prompts[0] + " " + choice["turns"][0] + EOS)


def test_a_killed_run_goes_on_where_it_was(options, tmp_path, monkeypatch):
    answer.main(options)
    expected = (tmp_path / "answers" / "tiny.jsonl").read_bytes()
    (tmp_path / "answers" / "tiny.jsonl").unlink()
    complete, asked = LocalEngine.complete, []

    def watched(self, requests):
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(len(requests))
        return complete(self, requests)

    monkeypatch.setattr(LocalEngine, "complete", watched)
    with pytest.raises(KeyboardInterrupt):
        answer.main([*options, "--batch-size=4"])
    assert asked == [4, 4, 4, 4]
    journal = tmp_path / "answers" / ".tiny.jsonl.journal"
    with journal.open("a") as stream:
        stream.write('{"question_id": 99, "torn')
    asked.clear()
    asked.append(0)
    answer.main([*options, "--batch-size=8"])
    assert asked == [0, 8, 8]
    assert (tmp_path / "answers" / "tiny.jsonl").read_bytes() == expected
    assert not journal.exists()


def test_a_journal_of_other_options_is_not_used(options, tmp_path, monkeypatch):
    monkeypatch.setattr(answer, "write_jsonl", lambda *args: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(RuntimeError):
        answer.main(options)
    monkeypatch.undo()
    answer.main([*options, "--max-new-tokens=3"])
    tokens = [n for r in read_jsonl(output(options)) for n in r["choices"][0]["tokens"]]
    assert max(tokens) == 3


def test_one_most_probable_token_is_greedy(options, tmp_path):
    answer.main([*options, "--top-k=1"])
    first = (tmp_path / "answers" / "tiny.jsonl").read_bytes()
    answer.main([*options, "--temperature-scale=0"])
    assert (tmp_path / "answers" / "tiny.jsonl").read_bytes() == first


def test_temperature_zero_makes_all_choices_equal(options):
    answer.main([*options, "--choices=3", "--temperature-scale=0"])
    for record in read_jsonl(output(options)):
        assert len({tuple(c["turns"]) for c in record["choices"]}) == 1


def test_choices_differ_where_a_category_is_sampled(options):
    answer.main([*options, "--choices=2"])
    differ = {
        r["question_id"]: r["choices"][0]["turns"] != r["choices"][1]["turns"]
        for r in read_jsonl(output(options))
    }
    for question in questions(16):
        if question["category"] in ("writing", "roleplay"):
            assert differ[question["question_id"]]
        if question["category"] in ("math", "coding", "reasoning", "extraction"):
            assert not differ[question["question_id"]]


def test_a_model_behind_an_api_answers_and_is_paid_once(options, tmp_path):
    model = FakeModel(reply=lambda messages: f"reply {len(messages)}")
    with serve(model) as url:
        arguments = [
            *options[1:],
            "--engine=api",
            "--api-model=x",
            f"--base-url={url}",
            f"--store={tmp_path / 'store'}",
        ]
        answer.main(arguments)
        first = (tmp_path / "answers" / "tiny.jsonl").read_bytes()
        answer.main(arguments)
    assert (tmp_path / "answers" / "tiny.jsonl").read_bytes() == first
    assert len(model.requests) == 32
    records = read_jsonl(output(options))
    assert records[0]["choices"][0]["turns"] == ["reply 2", "reply 4"]
    temperatures = {len(r["messages"]): set() for r in model.requests}
    for request in model.requests:
        temperatures[len(request["messages"])].add(request["temperature"])
    assert temperatures == {2: {0.0, 0.1, 0.7}, 4: {0.0, 0.1, 0.7}}


def test_published_answers_are_checked_and_renamed(options, tmp_path):
    published = jsonl(tmp_path / "gpt-4.jsonl", answers("gpt-4", 16)[::-1])
    arguments = [o for o in options if not o.startswith("--max-new-tokens")]
    arguments += ["--engine=published", f"--model={published}", "--model-id=GPT-4"]
    for unused in ("--max-new-tokens=12", "--choices=2", "--seed=1", "--reasoning-effort=low"):
        with pytest.raises(UserError, match="has no effect with --engine published"):
            answer.main([*arguments, unused])
    answer.main(arguments)
    records = read_jsonl(output(options))
    assert {r["model_id"] for r in records} == {"GPT-4"}
    assert [r["question_id"] for r in records] == list(range(81, 97))
    jsonl(published, answers("gpt-4", 15))
    with pytest.raises(UserError, match="question 96 has no answer"):
        answer.main(arguments)


class FakeVllm:
    """The parts of vLLM that are used: says two tokens, then stops, and remembers its calls."""

    def __init__(self, context: int = 512, **ending: object) -> None:
        self.context, self.loaded, self.seen = context, {}, []
        self.ending = {"token_ids": (50, 51, 7), "finish_reason": "stop"} | ending

    def module(self) -> ModuleType:
        module = ModuleType("vllm")
        module.LLM, module.SamplingParams = self.load, lambda **settings: settings
        return module

    def load(self, **settings: object) -> "FakeVllm":
        self.loaded = settings
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=self.context))
        return self

    def get_tokenizer(self):
        return make_tokenizer()

    def generate(self, prompts, settings):
        self.seen.extend(zip(prompts, settings, strict=True))
        return [SimpleNamespace(outputs=[SimpleNamespace(**self.ending)]) for _ in prompts]


def test_vllm_gets_the_same_prompts_and_stop_tokens(options, tmp_path, monkeypatch):
    folder = checkpoint(tmp_path / "two ends")
    facts = json.loads((folder / "generation_config.json").read_text()) | {"eos_token_id": [1, 7]}
    (folder / "generation_config.json").write_text(json.dumps(facts))
    fake = FakeVllm()
    monkeypatch.setitem(sys.modules, "vllm", fake.module())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    more = [f"--model={folder}", "--engine=vllm", "--dtype=bfloat16", "--top-k=50"]
    answer.main([*options, *more, "--device=auto"])
    assert fake.loaded["tensor_parallel_size"] == 4
    assert fake.loaded["trust_remote_code"] is False
    assert len(fake.seen) == 32
    assert all(settings["stop_token_ids"] == [1, 7] for _, settings in fake.seen)
    assert {settings["top_k"] for _, settings in fake.seen} == {50}
    assert fake.seen[0][0]["prompt_token_ids"][0] == 0
    assert len({settings["seed"] for _, settings in fake.seen}) == 32
    choice = read_jsonl(output(options))[0]["choices"][0]
    assert choice["tokens"] == [2, 2]
    assert choice["finish"] == ["stop", "stop"]


def test_vllm_is_not_asked_beyond_the_models_context(options, monkeypatch):
    ending = {"token_ids": (50, 51), "finish_reason": "length"}
    fake = FakeVllm(context=40, **ending)
    monkeypatch.setitem(sys.modules, "vllm", fake.module())
    answer.main([*options, "--engine=vllm", "--device=cuda"])
    assert fake.loaded["tensor_parallel_size"] == 1
    for prompt, settings in fake.seen:
        room = 40 - len(prompt["prompt_token_ids"])
        assert settings["max_tokens"] == min(12, room) > 0
    finishes = [r["choices"][0]["finish"] for r in read_jsonl(output(options))]
    assert {end for ends in finishes for end in ends} == {"length", "context"}
    assert len(fake.seen) < 32


def test_vllm_missing_is_explained(options, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"vLLM is not installed.*envs/vllm.yaml"):
        answer.main([*options, "--engine=vllm"])


def test_a_folder_without_a_model_is_explained(options, tmp_path):
    with pytest.raises(UserError, match=r"holds no tokenizer|config.json is no .* custom code"):
        answer.main([*options, f"--model={tmp_path}"])


def test_an_unknown_template_is_explained(options):
    with pytest.raises(UserError, match="'nonsense' is none of FastChat's"):
        answer.main([*options, "--template=nonsense"])


def api_options(options, tmp_path, url, *more):
    """The options of a run behind an endpoint."""
    fixed = ["--engine=api", "--api-model=x", f"--base-url={url}", "--retries=1"]
    return [*options[1:], *fixed, "--first-wait=0.01", f"--store={tmp_path / 'store'}", *more]


def test_an_endpoint_is_sent_what_was_asked_for(options, tmp_path):
    model = FakeModel()
    with serve(model) as url:
        answer.main(
            api_options(
                options, tmp_path, url, "--system-message=Be brief.", "--seed=3", "--top-k=5"
            )
        )
    systems = {r["messages"][0]["content"] for r in model.requests}
    assert systems == {"Be brief."}
    assert {r["top_k"] for r in model.requests} == {5}
    assert len({r["seed"] for r in model.requests}) == 32


def test_an_empty_system_message_is_none_and_nothing_is_sent_unasked(options, tmp_path):
    model = FakeModel()
    with serve(model) as url:
        answer.main(api_options(options, tmp_path, url, "--system-message="))
    assert {r["messages"][0]["role"] for r in model.requests} == {"user"}
    assert not [r for r in model.requests if {"seed", "top_k"} & r.keys()]


@pytest.mark.parametrize("option", ["--template=vicuna_v1.1", "--batch-size=3", "--device=cuda"])
def test_what_an_endpoint_cannot_heed_is_refused(options, tmp_path, option):
    with pytest.raises(UserError, match=r"--.*: has no effect with --engine api; leave it out"):
        answer.main(api_options(options, tmp_path, "http://127.0.0.1:9/v1", option))


def test_thoughts_are_kept_apart_and_not_told_the_model_again(options, tmp_path):
    model = FakeModel(reply=lambda messages: f"<think>secret {len(messages)}</think>said")
    with serve(model) as url:
        answer.main(api_options(options, tmp_path, url))
    choice = read_jsonl(output(options))[0]["choices"][0]
    assert choice["turns"] == ["said", "said"]
    assert choice["thoughts"] == ["secret 2", "secret 4"]
    assert "secret" not in json.dumps(model.requests)


def test_a_blocked_question_has_no_answer_and_gets_no_score(options, tmp_path):
    def blocked(body: dict) -> Fault | None:
        told = {"error": {"code": "content_filter", "message": "blocked"}}
        return said(told, 400) if "Question 3:" in str(body) else None

    model = FakeModel(reply=lambda messages: "It is 2.", answer=blocked)
    with serve(model) as url:
        arguments = api_options(options, tmp_path, url)
        answer.main(arguments)
        first = (tmp_path / "answers" / "tiny.jsonl").read_bytes()
        answer.main(arguments)
    assert (tmp_path / "answers" / "tiny.jsonl").read_bytes() == first
    assert len(model.requests) == 31
    choice = read_jsonl(output(options))[3]["choices"][0]
    assert choice["declined"] == ["blocked: blocked", "an earlier turn has no answer"]
    questions_file = next(o for o in options if o.startswith("--questions"))
    judged = tmp_path / "judged.jsonl"
    judge.main(
        ["--judge=rule", f"--answers={output(options)}", questions_file, f"--output={judged}"]
    )
    missing = [r for r in read_jsonl(judged) if r["score"] == -1]
    assert [(r["question_id"], r["turn"]) for r in missing] == [(84, 1), (84, 2)]
    assert {(r["missing"], r["refused"]) for r in missing} == {("no answer", "blocked: blocked")}


def test_a_checkpoints_thoughts_are_kept_apart_too(options, monkeypatch):
    prompts = []

    def complete(self, requests):
        prompts.extend(self.tokenizer.decode(request.input_ids) for request in requests)
        ids = self.tokenizer("<think>so</think>it is", add_special_tokens=False)["input_ids"]
        return [Completion(tuple(ids), "stop") for _ in requests]

    monkeypatch.setattr(LocalEngine, "complete", complete)
    answer.main(options)
    choices = [r["choices"][0] for r in read_jsonl(output(options))]
    assert {(c["turns"][1], c["thoughts"][1]) for c in choices} == {("it is", "so")}
    assert len(prompts) == 32
    assert not [prompt for prompt in prompts if "think" in prompt]
