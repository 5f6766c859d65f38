"""The plan of a run: what it counts, and what it says against figures that are known."""

import csv
from pathlib import Path

import pytest
import yaml

import plan as program
from fusionchat.cluster.plan import Plan
from fusionchat.cluster.plan_report import Place, records, shortfalls
from fusionchat.cluster.sizes import pretrained_size
from fusionchat.cluster.work import total
from fusionchat.config import checked
from fusionchat.errors import UserError
from fusionchat.experiment import Experiment

ROOT = Path(__file__).resolve().parents[3]


def make_plan(name: str, **changes) -> Plan:
    config = yaml.safe_load((ROOT / name).read_text()) | changes
    throughputs = yaml.safe_load((ROOT / "resources" / "throughputs.yaml").read_text())
    return Plan(Experiment(checked(config)), throughputs)


def by_rule(plan: Plan) -> dict:
    return {row.rule: row for row in plan.rows()}


def test_the_papers_trainings_take_what_the_paper_says():
    rows = by_rule(make_plan("configs/paper.yaml"))
    assert rows["train_target"].jobs == 4
    assert rows["train_target"].gpu_hours == pytest.approx(4 * 56, rel=0.1)
    assert rows["dump_logits"].jobs == 12
    assert rows["judge"].judge_calls == (16 + 6) * 160 * 2  # judged twice
    assert (rows["answer"].jobs, rows["answer_elsewhere"].jobs) == (16 + 3, 3)
    assert rows["answer_elsewhere"].judge_calls == 0


def test_released_checkpoints_need_no_training_and_no_dump():
    rows = by_rule(make_plan("configs/released.yaml"))
    assert {"train_target", "dump_logits", "fetch_data"}.isdisjoint(rows)
    assert rows["fetch_model"].kept_gb > 100


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


def test_shortfalls_name_disk_and_budget():
    rows = make_plan("configs/paper.yaml", mt_bench={"judges": {"hosted": HOSTED}}).rows()
    need = total(rows)
    assert not shortfalls(rows, Place(8, 32), 1e6, [1e6])
    lines = shortfalls(rows, Place(8, 32), need.kept_gb, [need.dollars / 2])
    assert [line.split(":")[0] for line in lines] == ["disk", "judges"]


def test_more_gpus_shorten_a_run_down_to_its_longest_jobs():
    rows = make_plan("configs/paper.yaml").rows()
    few, many = (records(rows, Place(gpus, 32))[-1] for gpus in (8, 32))
    assert few["wall_hours"] > many["wall_hours"] > 7
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


def test_a_model_of_unknown_size_is_named():
    models = {
        "a": {"repo": "some/body"},
        "b": {"repo": "openchat/openchat_3.5"},
    }
    plan = make_plan("configs/paper.yaml", models=models, pivot="b", targets={}, merges={})
    with pytest.raises(UserError, match="some/body"):
        plan.rows()


def test_folders_and_files_of_ones_own_are_planned_by_their_name(tmp_path):
    data = tmp_path / "mixture.json"
    data.write_text("[]")
    (tmp_path / "config.json").write_text("{}")
    models = {name: {"path": str(tmp_path)} for name in ("a", "b")}
    plan = make_plan(
        "configs/paper.yaml",
        models=models,
        pivot="b",
        data={"path": str(data)},
        targets={"t": {"sources": ["a"]}},
        merges={},
        comparisons={},
    )
    with pytest.raises(UserError, match=r"data has no .*mixture\.json"):
        plan.rows()
    plan.known["data"][str(data)] = {"dialogues": 9, "tokens": 1, "response_tokens": 1}
    with pytest.raises(UserError, match="models has no b;"):
        plan.rows()
    plan.known["models"] |= {name: {"parameters": 7.0, "active": 7.0} for name in models}
    rows = by_rule(plan)
    assert rows["fetch_model"].jobs == 2
    assert rows["fetch_model"].kept_gb == 0
    assert "lock_models" not in rows


def test_the_program_writes_all_formats_and_fails_on_demand(tmp_path, capsys):
    config = str(ROOT / "configs" / "paper.yaml")
    program.main(["--configfile", config, "--output", str(tmp_path / "plan")])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "plan.csv", "plan.md", "plan.png", "plan.svg",
    ]  # fmt: skip
    assert "train_target" in capsys.readouterr().out
    with (tmp_path / "plan.csv").open(newline="") as stream:
        written = {record["rule"]: record for record in csv.DictReader(stream)}
    assert float(written["train_target"]["wall_hours"]) == pytest.approx(28, rel=0.1)
    assert float(written["total"]["gpu_hours"]) > 224
    small = tmp_path / "small.yaml"
    hosted = yaml.safe_load(Path(config).read_text()) | {"mt_bench": {"judges": {"hosted": HOSTED}}}
    small.write_text(yaml.safe_dump(hosted))
    with pytest.raises(UserError, match="budget"):
        program.main(["--configfile", str(small), "--check"])


def demo_benchmarks() -> Path:
    return ROOT / "results" / "demo" / "benchmarks"


@pytest.mark.skipif(not demo_benchmarks().is_dir(), reason="needs a finished demo (make demo)")
def test_the_demos_plan_is_within_a_factor_of_two_of_the_finished_demo():
    from fusionchat.figures.costs import read_costs

    plan = make_plan("config.yaml")
    measured = {cost.rule: cost for cost in read_costs(demo_benchmarks())}
    for row in plan.rows():
        assert row.jobs == measured[row.rule].jobs, row.rule
        seconds = measured[row.rule].seconds
        print(f"{row.rule}: planned {3600 * row.hours:.0f} s, measured {seconds:.0f} s")
    kept = sum(
        path.stat().st_size
        for folder in ("models", "targets", "merged", "logits", "aligned", "fused", "mt_bench")
        for path in (demo_benchmarks().parent / folder).rglob("*")
        if path.is_file()
    )
    assert 0.5 < total(plan.rows()).kept_gb * 1e9 / kept < 2
