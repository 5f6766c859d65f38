"""Answers side by side: a judge compares every model's with a baseline's, in both orders.

In: mt_bench/answers/{model}.jsonl. Out: mt_bench/pairwise.jsonl, FastChat's pairwise records, and
tables/pairwise. On request, or in every report where the config has `mt_bench.pairwise`. Paid
responses are kept with those of the judge.
"""

from fusionchat.command_words import asked_once

PAIRWISE = experiment.pairwise


rule judge_pairs:
    """Let a judge compare every model's answers with the baseline's."""
    input:
        program=program("judge_pairs"),
        answers=collect("<results>/mt_bench/answers/{model}.jsonl", model=experiment.rated),
        questions=experiment.questions,
        prompts=experiment.judging_file(PAIRWISE["judge"], "judge_prompts.jsonl"),
        references=(
            []
            if experiment.generated
            else experiment.judging_file(PAIRWISE["judge"], "references.jsonl")
        ),
    output:
        matches="<results>/mt_bench/pairwise.jsonl",
    log:
        "<logs>/judge_pairs.log",
    benchmark:
        "<benchmarks>/judge_pairs.tsv"
    conda:
        "../envs/mt_bench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=minutes(240, 960),
    params:
        code=code("judge_pairs"),
        kind=config["mt_bench"]["judges"][PAIRWISE["judge"]]["kind"],
        baseline=PAIRWISE["baseline"],
        files=lambda w, input: [
            *flags("--prompts", input.prompts),
            *flags("--references", input.references),
        ],
        settings=asked_once(experiment, PAIRWISE["judge"]),
    shell:
        "python {input.program:q} --judge {params.kind} --baseline {params.baseline:q}"
        " --answers {input.answers:q} --questions {input.questions:q} {params.files:q}"
        " {params.settings:q} --output {output.matches:q} > {log:q} 2>&1"


rule pairwise:
    """Win rates against the baseline, and what the order of the answers did to the verdicts."""
    input:
        program=program("pairwise"),
        matches="<results>/mt_bench/pairwise.jsonl",
    output:
        csv="<results>/tables/pairwise.csv",
        md="<results>/tables/pairwise.md",
        tex="<results>/tables/pairwise.tex",
        html=table("pairwise"),
        values=f"{RESULTS}/metrics/pairwise.parquet",
    log:
        "<logs>/pairwise.log",
    benchmark:
        "<benchmarks>/pairwise.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("pairwise"),
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=table_rows(experiment, experiment.rows),
    shell:
        "python {input.program:q} --matches {input.matches:q} {params.rows:q}"
        " --values {output.values:q} --output {params.output:q} > {log:q} 2>&1"


METRICS += [rules.pairwise.output.values] if "pairwise" in config["mt_bench"] else []
