"""What only the profile says: its name, and whether it was edited for this site."""

import argparse


def profile_option():
    """--profile of this command, or nothing where jobs are not submitted."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--profile", default=os.environ.get("SNAKEMAKE_PROFILE", "slurm"))
    given = parser.parse_known_args()[0].profile
    return ["--profile", given] if not workflow.local_exec and os.path.exists(given) else []


def submitted_unedited():
    """Rules whose jobs are about to be submitted with a resource that still says EDIT."""
    if workflow.local_exec:
        return []
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    keys = ("slurm_account", "slurm_partition")
    return sorted({j.rule.name for j in jobs if "EDIT" in map(j.resources.get, keys)})


def refuse_unedited():
    """End before anything is downloaded: jobs would be refused hours later."""
    if unedited := submitted_unedited():
        raise SystemExit(
            f"error: the profile still says EDIT for {', '.join(unedited)}; put in your account and"
            " partitions (docs/cluster.md, section 2; `snakemake doctor --profile slurm` names them)"
        )
