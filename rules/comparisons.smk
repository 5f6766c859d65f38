"""Models to compare with that do not run here: behind an API, or with published answers.

In: the config's `comparisons`. Out: mt_bench/answers/{model}.jsonl, like those of every model.
What an API was paid for is kept in mt_bench/paid_answers/, outside the outputs.
"""

from fusionchat.command_words import endpoint


use rule fetch_data as fetch_answers with:
    """Answers that FastChat's authors published, at their locked commit."""
    input:
        program=program("fetch_data"),
        lock=lambda w: origins.lock(w.model),
    output:
        "<results>/mt_bench/published/{model}.jsonl",
    log:
        "<logs>/fetch_answers/{model}.log",
    benchmark:
        "<benchmarks>/fetch_answers/{model}.tsv"
    wildcard_constraints:
        model=any_of(origins.answers),
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code("fetch_data"),
        name="{model}",


rule answer_elsewhere:
    """Ask a model behind an API, or take answers that somebody published."""
    input:
        program=program("answer"),
        questions=experiment.questions,
        published=lambda w: origins.published(w.model),
    output:
        answers="<results>/mt_bench/answers/{model}.jsonl",
    log:
        "<logs>/answer_elsewhere/{model}.log",
    benchmark:
        "<benchmarks>/answer_elsewhere/{model}.tsv"
    wildcard_constraints:
        model=any_of(experiment.elsewhere),
    localrule: True
    conda:
        "../envs/mt_bench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=minutes(120, 960),
    params:
        code=code("answer"),
        engine=lambda w, input: (
            ["--engine", "published", "--model", *input.published]
            if input.published
            else [
                *("--engine", "api", "--store", f"{RESULTS}/mt_bench/paid_answers/{w.model}"),
                *endpoint(config["comparisons"][w.model]["api"], "api_model"),
                *options(config["comparisons"][w.model], "system_message"),
                *options(config["mt_bench"], "max_new_tokens", "choices"),
            ]
        ),
    shell:
        "python {input.program:q} {params.engine:q} --model-id {wildcards.model:q}"
        " --questions {input.questions:q}"
        " --output {output.answers:q} > {log:q} 2>&1"
