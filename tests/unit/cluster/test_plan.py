"""The plan of a run: what it counts, and what it says against figures that are known."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from plans import ROOT, by_rule, make_plan

import plan as program
from fusionchat.cluster.costs import lengths
from fusionchat.cluster.costs.lengths import Busy
from fusionchat.cluster.costs.sizes import named_size, pretrained_size
from fusionchat.cluster.costs.work import total
from fusionchat.cluster.plan import Plan
from fusionchat.cluster.plan_report import Place, notes, records, shortfalls
from fusionchat.errors import UserError


def test_the_papers_gpu_hours_are_those_of_a_hand_calculation():
    """A training: 95,000 dialogues x 3 epochs x 723 tokens with padding x 8 operations a parameter
    (forward, backward, forward again) x 7.24 billion = 11.9e18, at 168e12 a second and GPU: 19.7
    hours. A dump of 66.5 million tokens x 2 operations x (12.9 + 10.73 + 7.24) billion at 110e12:
    10.4 hours, and 12 jobs that load on 24 GPUs. Answers: 5 steps of 32 questions x 2,048 tokens.
    """
    training = 95_000 * 3 * 723 * 8 * 7.24e9 / 168e12 / 3600
    dump = 66.5e6 * 2 * (12.9 + 10.73 + 7.24) * 1e9 / 110e12 / 3600 + 24 * 90 / 3600
    hours = by_rule(make_plan("configs/paper.yaml"))
    assert hours["train_target"].gpu_hours == pytest.approx(4 * training, rel=0.05)
    assert hours["dump_logits"].gpu_hours == pytest.approx(dump, rel=0.05)
    assert total(list(hours.values())).gpu_hours == pytest.approx(93, rel=0.05)


def test_the_papers_own_padding_takes_the_papers_own_hours():
    """Padded to 2,048 tokens, as the released code does, a target takes 7 hours of 8 GPUs."""
    plan = make_plan("configs/paper.yaml")
    plan.busy = Busy(2048, 2048)
    assert by_rule(plan)["train_target"].gpu_hours == pytest.approx(4 * 56, rel=0.05)


def test_the_papers_jobs_and_judge_calls():
    rows = by_rule(make_plan("configs/paper.yaml"))
    assert rows["train_target"].jobs == 4
    assert rows["dump_logits"].jobs == 12
    assert rows["judge"].judge_calls == (16 + 6) * 160 * 2  # judged twice
    assert (rows["answer"].jobs, rows["answer_elsewhere"].jobs) == (16 + 3, 3)
    assert rows["answer_elsewhere"].judge_calls == 0


def test_released_checkpoints_need_no_training_and_no_dump():
    rows = by_rule(make_plan("configs/released.yaml"))
    assert {"train_target", "dump_logits", "fetch_data"}.isdisjoint(rows)
    assert rows["fetch_model"].kept_gb > 100


def test_tasks_cost_what_they_read():
    whole, part = (
        by_rule(make_plan("configs/released.yaml", leaderboard=LEADERBOARD | more))
        for more in ({}, {"limit": 100})
    )
    assert (whole["evaluate_tasks"].jobs, whole["fetch_dataset"].jobs) == (18, 1)
    assert 18 < whole["evaluate_tasks"].gpu_hours < 200
    assert part["evaluate_tasks"].gpu_hours < whole["evaluate_tasks"].gpu_hours / 4


LEADERBOARD = {
    "tasks": {"hellaswag": {"shots": 10, "metric": "acc_norm", "repo": "Rowan/hellaswag"}}
}


def test_a_dump_costs_more_with_more_shards_only_by_their_start():
    few, many = (
        by_rule(make_plan("configs/six_sources.yaml", data=data))["dump_logits"]
        for data in (
            {"repo": "FuseAI/FuseChat-Mixture", "file": "x", "shards": shards}
            for shards in (8, 256)
        )
    )
    assert many.jobs == 32 * few.jobs
    assert many.kept_gb == pytest.approx(few.kept_gb)


def test_a_released_dump_takes_the_place_of_a_models_own():
    models = yaml.safe_load((ROOT / "configs/paper.yaml").read_text())["models"]
    models["openchat"]["logits"] = str(ROOT)
    rows = by_rule(make_plan("configs/paper.yaml", models=models))
    assert rows["dump_logits"].jobs == 2 * 4
    assert (rows["import_logits"].jobs, rows["import_logits"].gpu_hours) == (1, 0)
    dumped = by_rule(make_plan("configs/paper.yaml"))["dump_logits"]
    assert rows["import_logits"].kept_gb == pytest.approx(dumped.kept_gb / 3)


def test_exact_steps_are_in_the_plan():
    """A sixth more of each source's lists of ten; the pivot's own lists need none."""
    plain, exact = (
        by_rule(make_plan("configs/paper.yaml", logits={"exact_steps": on}))["dump_logits"]
        for on in (False, True)
    )
    assert exact.kept_gb / plain.kept_gb == pytest.approx(1 + 2 / 3 / 6, rel=0.03)
    assert exact.gpu_hours == pytest.approx(plain.gpu_hours)


def test_a_source_that_wins_nothing_is_a_warning(tmp_path, monkeypatch):
    """From the sample for `worth`; the whole alignment counts more, once it is here."""
    monkeypatch.chdir(tmp_path)
    plan = make_plan("config.yaml")
    source, pivot = plan.sources[0], plan.experiment.pivot
    assert not plan.facts.idle_sources

    def write(name, wins):
        contest = {"dialogues": 9, "wins": wins, "source_ce_byte": 0.7, "pivot_ce_byte": 0.5}
        file = tmp_path / plan.experiment.results / "alignment" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        values = {"source": source, "pivot": pivot, "contest": contest, "rates": {"fallback": 0.0}}
        file.write_text(json.dumps(values))
        return file

    write(f"{source}.sample.json", 0)
    (warning,) = (line for line in notes(plan) if "WARNING" in line)
    assert f"{source} teaches nothing" in warning
    whole = write(f"{source}.json", 2)
    assert not plan.facts.idle_sources
    whole.write_text("{}")
    with pytest.raises(UserError, match=f"{source}.json is not a file of report_alignment"):
        notes(plan)


def test_size_of_a_trained_model_equals_its_parameters(tmp_path):
    from transformers import MixtralConfig, MixtralForCausalLM

    shape = {
        "architecture": "mixtral", "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 1,
        "intermediate_size": 64, "experts": 4, "vocabulary": 99,
    }  # fmt: skip
    config = MixtralConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=64, num_local_experts=4, vocab_size=100,
    )  # fmt: skip
    found = MixtralForCausalLM(config).num_parameters() / 1e9
    assert pretrained_size(shape).parameters == pytest.approx(found, rel=0.02)


HOSTED = {"kind": "openai", "model": "m", "base_url": "https://x/v1", "input_price": 2}


HOSTED |= {"output_price": 8, "budget": 1}


def test_a_comparison_behind_an_api_costs_calls_and_dollars():
    api = {key: value for key, value in HOSTED.items() if key != "kind"}
    plan = make_plan("configs/paper.yaml", comparisons={"x": {"api": api}, "y": {"paper": "gpt-4"}})
    rows = by_rule(plan)
    assert rows["answer_elsewhere"].judge_calls == 160
    assert rows["answer_elsewhere"].dollars > 0
    assert rows["judge"].judge_calls == 17 * 160 * 2


def judged(**changes) -> Plan:
    judges = {"hosted": HOSTED | changes}
    return make_plan("configs/paper.yaml", mt_bench={"judges": judges})


def test_shortfalls_name_disk_gpus_and_budget():
    plan = judged(budget=1e6)
    need = total(plan.rows())
    assert not shortfalls(plan, Place(8, 32), 1e6)
    lines = shortfalls(judged(budget=need.dollars / 2), Place(4, 32), need.kept_gb)
    assert [line.split(":")[0] for line in lines] == ["GPUs", "disk", "judges.hosted"]
    assert "train_target takes 8" in lines[0]


def test_each_budget_is_compared_with_its_own_judge():
    judges = {
        "cheap": HOSTED | {"budget": 1e4},
        "dear": HOSTED | {"output_price": 800, "budget": 1},
    }
    plan = make_plan("configs/paper.yaml", mt_bench={"judges": judges})
    (line,) = shortfalls(plan, Place(8, 32), 1e6)
    assert line.startswith("judges.dear")


def test_a_batch_costs_half():
    single, batch = (total(judged(batch=batch).rows()) for batch in (False, True))
    assert batch.dollars == pytest.approx(single.dollars / 2)
    assert batch.judge_calls == single.judge_calls


def test_the_calibration_of_a_judge_is_counted_beside_the_table():
    plan = judged()
    assert plan.calibration().judge_calls == 6 * 80 * 2
    assert "960 more judge calls and $" in " ".join(notes(plan))
    assert make_plan("config.yaml").calibration() is None


def test_more_gpus_shorten_a_run_down_to_its_longest_jobs():
    rows = make_plan("configs/paper.yaml").rows()
    few, many = (records(rows, Place(gpus, 32))[-1] for gpus in (8, 32))
    assert few["wall_hours"] > many["wall_hours"] > 2.5
    assert few["gpu_hours"] == many["gpu_hours"]


def test_trainings_side_by_side_need_room_for_all_their_checkpoints():
    rows = make_plan("configs/paper.yaml").rows()
    one, four, more = (records(rows, Place(gpus, 32))[-1] for gpus in (8, 32, 800))
    assert one["temporary_gb"] == pytest.approx(3 * 12 * 7.24)
    assert four["temporary_gb"] == more["temporary_gb"] == pytest.approx(4 * one["temporary_gb"])


def test_the_rehearsal_in_true_shapes_has_the_papers_weights():
    small, full, paper = (
        make_plan(name, **changes)
        for name, changes in (
            ("configs/rehearsal.yaml", {}),
            ("configs/rehearsal.yaml", {"full_shapes": True}),
            ("configs/paper.yaml", {}),
        )
    )
    for name in ("mixtral", "solar", "openchat"):
        assert small.size(name).parameters < 0.1
        assert full.size(name).parameters == pytest.approx(paper.size(name).parameters, rel=0.05)
    assert by_rule(full)["merge_varm"].kept_gb == pytest.approx(
        by_rule(paper)["merge_varm"].kept_gb, rel=0.05
    )


def test_a_model_whose_name_tells_no_size_is_named():
    models = {"a": {"repo": "some/body"}, "b": {"repo": "openchat/openchat_3.5"}}
    plan = make_plan("configs/paper.yaml", models=models, pivot="b", targets={}, merges={})
    with pytest.raises(UserError, match=r"models\.a: .*some/body"):
        plan.rows()


def test_a_name_tells_the_size_until_the_model_is_here():
    for repo, billions in (
        ("Qwen/Qwen2.5-1.5B-Instruct", 1.5),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1.1),
        ("meta-llama/Llama-3.2-1B", 1.0),
    ):
        assert named_size(repo).parameters == pytest.approx(billions)
    assert named_size("01-ai/Yi-Chat") is None
    assert named_size("a/model_v2b5") is None


def own_run(folder: Path, records: list[dict], **changes) -> Plan:
    """A plan of two models and a file of one's own."""
    data = folder / "mixture.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    model = tiny_llama(folder / "model")
    (folder / "questions").mkdir()
    questions = [
        {"question_id": n, "category": "math", "turns": ["a", "b"][: n % 2 + 1]} for n in range(7)
    ]
    text = "".join(json.dumps(question) + "\n" for question in questions)
    for name in ("question", "judge_prompts", "references"):
        (folder / "questions" / f"{name}.jsonl").write_text(text)
    return make_plan(
        "configs/paper.yaml",
        **{
            "models": {name: {"path": str(model), "label": name} for name in ("a", "b")},
            "pivot": "b",
            "device": "cpu",
            "data": {"path": str(data)},
            "targets": {"t": {"sources": ["a"]}},
            "merges": {},
            "comparisons": {},
            "mt_bench": {"questions": str(folder / "questions")},
        }
        | changes,
    )


def tiny_llama(folder: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=50,
        intermediate_size=24,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        **shape,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def said(words: int) -> dict:
    return {"instruction": "why " * words, "output": "as " * words}


def test_folders_and_files_of_ones_own_need_no_entry(tmp_path):
    plan = own_run(tmp_path, [said(2 * n + 1) for n in range(30)])
    rows = by_rule(plan)
    size = plan.size("a")
    assert size.parameters * 1e9 == 50 * 16 + 3 * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24 + 32) + 16
    assert (size.layers, size.hidden, size.key_values, size.vocabulary) == (3, 16, 8, 50)
    assert plan.facts.data.dialogues == 30
    assert plan.facts.data.mean == pytest.approx(
        2 * lengths.MARKUP + 30 * 7 / lengths.BYTES_A_TOKEN, rel=0.05
    )
    assert rows["answer"].jobs == 3
    assert plan.facts.questions == (7, 10)
    assert rows["fetch_model"].kept_gb == 0
    assert "lock_models" not in rows


def test_long_dialogues_count_as_the_parts_that_they_are_split_into(tmp_path):
    turns = [{"from": name, "value": "word " * 30} for name in ("human", "gpt") * 4]
    plan = own_run(
        tmp_path,
        [{"conversations": turns}],
        data={"path": str(tmp_path / "mixture.jsonl"), "max_length": 100},
    )
    assert (plan.facts.data.dialogues, plan.facts.dialogues) == (1, 4)
    assert plan.facts.data.tokens.max() <= 100


def test_no_dialogue_to_train_on_is_said(tmp_path):
    data = {"path": str(tmp_path / "mixture.jsonl"), "heldout": 3}
    with pytest.raises(UserError, match=r"data\.heldout: 3 of 3"):
        own_run(tmp_path, [said(n + 1) for n in range(3)], data=data).rows()


def test_a_data_set_of_the_hub_that_nobody_knows_is_named():
    plan = make_plan("configs/paper.yaml", data={"repo": "some/data", "file": "x.json"})
    with pytest.raises(UserError, match="how many dialogues some/data has"):
        plan.rows()


def test_the_program_writes_all_formats_and_fails_on_demand(tmp_path, capsys):
    config = str(ROOT / "configs" / "paper.yaml")
    program.main(["--configfile", config, "--output", str(tmp_path / "plan")])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "plan.csv", "plan.md", "plan.png", "plan.svg",
    ]  # fmt: skip
    assert "train_target" in capsys.readouterr().out
    with (tmp_path / "plan.csv").open(newline="") as stream:
        written = {record["rule"]: record for record in csv.DictReader(stream)}
    assert float(written["train_target"]["wall_hours"]) == pytest.approx(10, rel=0.1)
    assert float(written["total"]["gpu_hours"]) > 90
    small = tmp_path / "small.yaml"
    hosted = yaml.safe_load(Path(config).read_text()) | {"mt_bench": {"judges": {"hosted": HOSTED}}}
    small.write_text(yaml.safe_dump(hosted))
    with pytest.raises(UserError, match=r"GPUs.*budget"):
        program.main(["--configfile", str(small), "--check", "--gpus", "4"])


def test_pairs_are_shown_in_both_orders_and_paid_from_the_judges_budget():
    judge = {"kind": "openai", "model": "j", "base_url": "https://x", "repeats": 1}
    judge |= {"input_price": 1.0, "output_price": 1.0, "budget": 5, "concurrency": 8}
    alone = make_plan("configs/paper.yaml", mt_bench={"judges": {"j": judge}})
    paired = make_plan("configs/paper.yaml", mt_bench={"judges": {"j": judge}, "pairwise": {}})
    models = len(alone.experiment.rated)
    calls = by_rule(paired)["judge_pairs"].judge_calls
    assert calls == 2 * 160 * (models - 1)
    assert by_rule(paired)["pairwise"].jobs == 1
    alpaca = make_plan("configs/paper.yaml", mt_bench={"judges": {"j": judge}}, alpaca_eval={})
    asked = by_rule(alpaca)["answer_alpaca"].jobs
    assert asked == len(alpaca.experiment.rows) - len(alpaca.experiment.elsewhere)
    assert by_rule(alpaca)["judge_alpaca"].judge_calls == 805 * asked
    assert alpaca.budgets()[0][1] > alone.budgets()[0][1]
    (_, before, _), (_, now, _) = alone.budgets()[0], paired.budgets()[0]
    assert now / before == pytest.approx(1 + calls / (160 * models))
