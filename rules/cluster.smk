"""Before a run: what it costs, and whether this place is ready for it. Nothing here runs a model.

In: the configuration. Out: plan/, and doctor.txt; `snakemake -f doctor` checks once more.
"""


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
