"""Models to compare with that do not run here: behind an API, or with published answers.

In: the config's `comparisons`. Out: mt_bench/answers/{model}.jsonl, like those of every model.
What an API was paid for is kept in mt_bench/paid_answers/, outside the outputs.
"""


rule fetch_answers:
    """Answers that FastChat's authors published, at their locked commit."""
    input:
        code=code("fetch_data"),
        program=program("fetch_data"),
        lock=lambda wildcards: lock_file(wildcards.model),
    output:
        answers="<results>/mt_bench/published/{model}.jsonl",
    log:
        "<logs>/fetch_answers/{model}.log",
    benchmark:
        "<benchmarks>/fetch_answers/{model}.tsv"
    wildcard_constraints:
        model=any_of(PUBLISHED),
    retries: 2
    localrule: True
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    shell:
        "python {input.program:q} --lock {input.lock:q} --name {wildcards.model:q}"
        " --output {output.answers:q} > {log:q} 2>&1"


rule answer_elsewhere:
    """Ask a model behind an API, or take answers that somebody published."""
    input:
        code=code("answer"),
        program=program("answer"),
        questions=questions,
        published=published_answers,
    output:
        answers="<results>/mt_bench/answers/{model}.jsonl",
    log:
        "<logs>/answer_elsewhere/{model}.log",
    benchmark:
        "<benchmarks>/answer_elsewhere/{model}.tsv"
    wildcard_constraints:
        model=any_of(ELSEWHERE),
    localrule: True
    conda:
        "../envs/mt_bench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=grows(120, 960),
    params:
        engine=elsewhere_flags,
        max_new_tokens=lookup(dpath="mt_bench/max_new_tokens", within=config),
        choices=lookup(dpath="mt_bench/choices", within=config),
    shell:
        "python {input.program:q} {params.engine:q} --model-id {wildcards.model:q}"
        " --questions {input.questions:q} --max-new-tokens {params.max_new_tokens}"
        " --choices {params.choices} --output {output.answers:q} > {log:q} 2>&1"
