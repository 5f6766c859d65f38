"""Judgments and scores: every judge rates every model, one table holds all scores.

In: mt_bench/answers/{model}.jsonl. Out: mt_bench/judgments/{judge}/{model}.jsonl,
mt_bench/scores.parquet and, where a score is given more than once, tables/agreement.csv. Paid
responses are kept in mt_bench/paid/, outside the outputs. On request, an LLM judge is compared with
people: tables/calibration/{judge}.csv.
"""

from fusionchat.command_words import asked_once, judge_options
from fusionchat.origins import VOTES


rule judge:
    """Rate one model's answers with one judge, in FastChat's judgment records."""
    input:
        program=program("judge"),
        answers="<results>/mt_bench/answers/{model}.jsonl",
        questions=experiment.questions,
        prompts=lambda w: experiment.judging_file(w.judge, "judge_prompts.jsonl"),
        references=lambda w: (
            [] if experiment.generated else experiment.judging_file(w.judge, "references.jsonl")
        ),
    output:
        judgments="<results>/mt_bench/judgments/{judge}/{model}.jsonl",
    log:
        "<logs>/judge/{judge}/{model}.log",
    benchmark:
        "<benchmarks>/judge/{judge}/{model}.tsv"
    conda:
        "../envs/mt_bench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=minutes(120, 960),
    params:
        code=code("judge"),
        kind=lookup(dpath="mt_bench/judges/{judge}/kind", within=config),
        files=lambda w, input: [
            *flags("--prompts", input.prompts),
            *flags("--references", input.references),
        ],
        settings=lambda w: judge_options(experiment, w.judge),
    shell:
        "python {input.program:q} --judge {params.kind} --answers {input.answers:q}"
        " --questions {input.questions:q} {params.files:q} {params.settings:q} --output {output.judgments:q}"
        " > {log:q} 2>&1"


rule score:
    """Collect all judgments in one table: a row a model, judge, question and turn."""
    input:
        program=program("score"),
        questions=experiment.questions,
        judgments=collect(
            "<results>/mt_bench/judgments/{judge}/{model}.jsonl",
            judge=config["mt_bench"]["judges"],
            model=experiment.rated,
        ),
    output:
        scores="<results>/mt_bench/scores.parquet",
    log:
        "<logs>/score.log",
    benchmark:
        "<benchmarks>/score.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("score"),
    shell:
        "python {input.program:q} --judgments {input.judgments:q} --questions {input.questions:q}"
        " --output {output.scores:q} > {log:q} 2>&1"


rule agreement:
    """How far judges agree with each other, and with themselves when they are asked again."""
    input:
        program=program("agreement"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        csv="<results>/tables/agreement.csv",
    log:
        "<logs>/agreement.log",
    benchmark:
        "<benchmarks>/agreement.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("agreement"),
    shell:
        "python {input.program:q} --scores {input.scores:q} --output {output.csv:q} 2>&1 | tee {log:q}"


use rule fetch_data as fetch_votes with:
    """People's votes on answers to MT-Bench, at their locked commit."""
    input:
        program=program("fetch_data"),
        lock=origins.lock(VOTES),
    output:
        f"<results>/mt_bench/{VOTES}.parquet",
    log:
        "<logs>/fetch_votes.log",
    benchmark:
        "<benchmarks>/fetch_votes.tsv"
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code("fetch_data"),
        name=VOTES,


rule calibrate_judge:
    """How far an LLM judge agrees with people, on the answers that they voted on."""
    input:
        program=program("calibrate_judge"),
        votes=origins.votes,
        questions="<results>/mt_bench/questions/question.jsonl",
        prompts="<results>/mt_bench/questions/judge_prompts.jsonl",
        references="<results>/mt_bench/questions/references.jsonl",
    output:
        judgments="<results>/mt_bench/calibration/{judge}.jsonl",
        csv="<results>/tables/calibration/{judge}.csv",
    log:
        "<logs>/calibrate_judge/{judge}.log",
    benchmark:
        "<benchmarks>/calibrate_judge/{judge}.tsv"
    wildcard_constraints:
        judge=any_of(experiment.llm_judges),
    localrule: True
    conda:
        "../envs/mt_bench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=minutes(240, 960),
    params:
        code=code("calibrate_judge"),
        settings=lambda w: asked_once(experiment, w.judge),
    shell:
        "python {input.program:q} --judge openai --votes {input.votes:q}"
        " --questions {input.questions:q} --prompts {input.prompts:q} --references {input.references:q}"
        " {params.settings:q} --judgments {output.judgments:q} --output {output.csv:q} > {log:q} 2>&1"
