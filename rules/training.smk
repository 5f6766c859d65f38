"""Light fine-tuning (equations 4 and 5): one target a set of sources, all with the pivot's shape.

In: the pivot, fused/{target}/ (or only dialogues for the CLM baseline).
Out: targets/{target}/, float32 weights; checkpoints of a running training stay outside the
outputs, in checkpoints/{target}/, because Snakemake removes the outputs of a failed job.

On SLURM the job itself sends SIGTERM five minutes before its time is over, and the training saves a
checkpoint. The scheduler's own warning would not arrive: where it tracks processes by cgroup it goes
to the snakemake of the job alone, which waits for its program and then calls even a finished job
failed.
"""


rule train_target:
    """Fine-tune the pivot on the dialogues and, if the target has sources, their distributions."""
    input:
        program=program("train_target"),
        pivot=PIVOT_MANIFEST,
        data=lambda w: experiment.training_data(w.target),
        template=experiment.rendering_files(experiment.rendering(PIVOT)),
        deepspeed=config["training"].get("deepspeed", []),
    output:
        manifest="<results>/targets/{target}/manifest.json",
        losses="<results>/targets/{target}/loss.csv",
    log:
        "<logs>/train_target/{target}.log",
    benchmark:
        "<benchmarks>/train_target/{target}.tsv"
    wildcard_constraints:
        target=any_of(experiment.trained),
    conda:
        "../envs/models.yaml"
    threads: model_threads
    resources:
        **TRAINING_GPUS,
        nodes=lookup(dpath="training/nodes", within=config),
        mem_mb=memory(128_000, 960_000),
        runtime=minutes(720, 2_880),
    params:
        code=code("train_target"),
        launch=launcher,
        devices=max(1, config["training"]["gpu"]),
        pivot=subpath(input.pivot, parent=True),
        output=subpath(output.manifest, parent=True),
        checkpoints=f"{RESULTS}/checkpoints/{{target}}",
        kind=lambda w: "--fused" if experiment.targets[w.target].sources else "--dialogues",
        device=lookup(dpath="device", within=config),
        rendering=options(experiment.rendering(PIVOT)),
        max_length=lookup(dpath="data/max_length", within=config),
        settings=lambda w: options(
            experiment.targets[w.target].training, skip=("gpu", "nodes", "seeds")
        ),
    shell:
        "LEFT=$(({resources.runtime} > 10 ? {resources.runtime} * 60 - 300 : {resources.runtime} * 50));"
        ' STOP="${{SLURM_JOB_ID:+timeout --foreground $LEFT}}";'
        " exec {params.launch} {input.program:q} --pivot-model {params.pivot:q} {params.kind}"
        " {input.data:q} {params.rendering:q} --max-length {params.max_length}"
        " {params.settings:q} --device {params.device} --devices {params.devices} --threads {threads}"
        " --checkpoints {params.checkpoints:q} --output {params.output:q} > {log:q} 2>&1"
