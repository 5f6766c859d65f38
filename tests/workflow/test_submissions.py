"""How many jobs a run sends to a cluster's queue."""

import re
from collections import Counter

import yaml
from micro_project import ROOT, copy_project
from rule_files import read_rules

MOST = 150


def local_rules() -> set[str]:
    """Rules that run where snakemake runs."""
    listed = (ROOT / "rules" / "local.smk").read_text()
    named = re.search(r"^localrules:\n((?:    \w+,\n)+)", listed, re.MULTILINE)[1]
    marked = {name for name, sections in read_rules().items() if "localrule" in sections}
    return marked | set(re.findall(r"\w+", named)) | {"all", "write_config"}


def test_six_models_in_64_shards_are_a_hundred_jobs_and_not_fifteen_hundred(tmp_path):
    project = copy_project(tmp_path / "project")
    config = yaml.safe_load((ROOT / "configs" / "six_sources.yaml").read_text())
    config["data"]["shards"] = 64
    (project.folder / "config.yaml").write_text(yaml.safe_dump(config))
    run = project.snakemake("--profile", "slurm", "--configfile", "config.yaml", "--dry-run")
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    groups = Counter(re.findall(r"^\[.*\] Group job (\w+)", said, re.MULTILINE))
    single = Counter(re.findall(r"^rule (\w+):", said, re.MULTILINE))
    for name in local_rules():
        del single[name]
    assert groups["dump_solar"] == 8
    assert groups["align_solar"] == groups["transfer_solar"] == groups["fuse_multi"] == 2
    assert not {"align_tokens", "transfer_logits", "fuse_distributions"} & {*single}
    assert single["train_target"] == 7
    assert groups.total() + single.total() <= MOST
