"""Before a run: what it costs, and whether this place is ready for it. Nothing here runs a model.

In: the configuration. Out: plan/, and doctor.txt; `snakemake -f doctor` checks once more.
"""

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


rule plan:
    """Jobs, GPU-hours, disk, memory, judge calls and dollars of each rule."""
    input:
        program=program("plan"),
        config=rules.write_config.output.config,
        throughputs=resource("throughputs.yaml"),
    output:
        csv="<results>/plan/plan.csv",
        md="<results>/plan/plan.md",
        svg="<results>/plan/plan.svg",
        png="<results>/plan/plan.png",
    log:
        "<logs>/plan.log",
    benchmark:
        "<benchmarks>/plan.tsv"
    localrule: True
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code("plan"),
        output=subpath(output.csv, strip_suffix=".csv"),
    shell:
        "python {input.program:q} --configfile {input.config:q}"
        " --throughputs {input.throughputs:q} --output {params.output:q} 2>&1 | tee {log:q}"


rule doctor:
    """Scheduler, GPUs, file system, disk, hub, judges, versions: each failure with its fix."""
    input:
        program=program("doctor"),
        config=rules.write_config.output.config,
    output:
        report="<results>/doctor.txt",
    log:
        "<logs>/doctor.log",
    benchmark:
        "<benchmarks>/doctor.tsv"
    retries: 0
    localrule: True
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=20,
    params:
        code=code("doctor"),
        profile=lambda w: profile_option(),
    shell:
        "python {input.program:q} --configfile {input.config:q} {params.profile:q}"
        " --output {output.report:q} 2>&1 | tee {log:q}"
