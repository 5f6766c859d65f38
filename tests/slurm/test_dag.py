"""The micro configuration on a site that edited the three keys: the same results as elsewhere."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fusionchat.files import sha256

pytestmark = pytest.mark.timeout(2400)  # beside other tests, on two cores
COMPARED = ("logits", "spans", "aligned", "fused", "targets", "variation", "merged", "mt_bench")
COMPARED += ("nll", "tables")
SITE = ("tests", "test", "test")  # account, partition without GPUs, partition with GPUs


@pytest.fixture(scope="module")
def ran(cluster, request):
    """Everything, through SLURM."""
    profile = cluster.folder / "slurm" / "profile.yaml"
    text = profile.read_text()
    assert text.count('"EDIT"') == len(SITE)
    for value in SITE:
        text = text.replace('"EDIT"', value, 1)
    profile.write_text(text)
    shorter = ("--seconds-between-status-checks", "2", "--latency-wait", "5")
    with ThreadPoolExecutor() as pool:  # a run whose words nobody reads stops when the pipe is full
        process = cluster.start("--profile", "slurm", "--configfile", "config.yaml", *shorter)
        ended = pool.submit(cluster.ended, process)
        request.getfixturevalue("finished")  # the local run meanwhile: SLURM's is mostly waiting
        ended.result()
    return cluster


def test_each_job_was_given_the_gpus_that_it_asked_for(ran):
    given = {}
    for job in ran.jobs().values():
        rule, _, wildcards = job["Comment"].removeprefix("rule_").partition("_wildcards_")
        granted = job["JOB_GRES"]
        gpus = [] if granted == "(null)" else [int(granted.removeprefix("gpu:"))]
        given.setdefault(rule, {})[wildcards] = gpus
    asking = {"dump_logits", "train_target", "answer", "measure_nll", "evaluate_tasks"}
    for rule, jobs in given.items():
        if rule not in asking:
            assert set(map(tuple, jobs.values())) == {()}, rule
    assert {w: g for w, g in given["dump_logits"].items() if w.endswith("_0000")} == {
        "pivot_0000": [1],
        "moe_0000": [2],
        "deep_0000": [1],
    }
    assert set(map(tuple, given["train_target"].values())) == {(2,)}
    assert given["answer"]["varm"] == given["measure_nll"]["varm"] == [1]


def test_programs_saw_these_gpus_and_no_others(ran):
    seen = ran.seen()
    assert seen.pop("train_target") <= {"0,1"}
    for program in ("dump_logits", "answer", "measure_nll"):  # the mixture of experts takes two
        assert {"0,1"} < seen.pop(program) <= {"0", "1", "0,1"}
    assert seen.pop("evaluate_tasks") <= {"0", "1"}
    assert set().union(*seen.values()) == {"none"}


def test_results_equal_those_of_a_local_run(ran, finished):
    files = [
        path.relative_to(ran.results)
        for folder in COMPARED
        for path in (ran.results / folder).rglob("*")
        if path.is_file() and path.suffix in (".parquet", ".safetensors", ".jsonl", ".csv")
    ]
    assert len(files) > 20
    different = [f for f in files if sha256(ran.results / f) != sha256(finished.results / f)]
    assert not different
