"""AlpacaEval 2: answers to 805 questions against GPT-4 Turbo's, with their length controlled for.

In: models, targets and merged models; published files at locked commits. Out: alpaca_eval/data/,
answers/{model}.jsonl, annotations.jsonl, and tables/alpaca_eval. Only where the config has
`alpaca_eval`. Paid responses are kept with those of the judge.
"""

from fusionchat.alpaca_eval.data import FILES
from fusionchat.command_words import alpaca_judge

ALPACA = experiment.alpaca_eval


rule fetch_alpaca:
    """AlpacaEval's prompt, baseline outputs and difficulties, locked by checksum or from a folder."""
    input:
        program=program("fetch_alpaca"),
        local=collect(f"{ALPACA['data']}/{{name}}", name=FILES) if "data" in ALPACA else [],
    output:
        manifest="<results>/alpaca_eval/data/manifest.json",
        prompt="<results>/alpaca_eval/data/prompt.txt",
        outputs="<results>/alpaca_eval/data/outputs.json",
        gamed="<results>/alpaca_eval/data/gamed.csv",
        questions="<results>/alpaca_eval/data/question.jsonl",
    log:
        "<logs>/fetch_alpaca.log",
    benchmark:
        "<benchmarks>/fetch_alpaca.tsv"
    retries: 2
    localrule: True
    conda:
        "../envs/mt_bench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code("fetch_alpaca"),
        folder=subpath(output.manifest, parent=True),
        data=options(ALPACA, "data"),
    shell:
        "python {input.program:q} {params.data:q} --output {params.folder:q} > {log:q} 2>&1"


use rule answer as answer_alpaca with:
    """Answer AlpacaEval's questions of one turn."""
    input:
        program=program("answer"),
        model=lambda w: experiment.manifest(w.model),
        questions=rules.fetch_alpaca.output.questions,
        template=lambda w: experiment.rendering_files(experiment.answer_rendering(w.model)),
    output:
        answers="<results>/alpaca_eval/answers/{model}.jsonl",
    log:
        "<logs>/answer_alpaca/{model}.log",
    benchmark:
        "<benchmarks>/answer_alpaca/{model}.tsv"
    wildcard_constraints:
        model=any_of(experiment.alpaca_models),
    params:
        code=code("answer"),
        settings=[
            *options(config["mt_bench"], "batch_size", "seed", "engine", "top_k"),
            *options(ALPACA, "max_new_tokens"),
        ],


rule judge_alpaca:
    """Let the judge prefer each model's answer or the baseline's, once each, in a seeded order."""
    input:
        program=program("judge_alpaca"),
        answers=collect(
            "<results>/alpaca_eval/answers/{model}.jsonl", model=experiment.alpaca_models
        ),
        questions=rules.fetch_alpaca.output.questions,
        outputs=rules.fetch_alpaca.output.outputs,
        prompt=rules.fetch_alpaca.output.prompt,
    output:
        annotations="<results>/alpaca_eval/annotations.jsonl",
    log:
        "<logs>/judge_alpaca.log",
    benchmark:
        "<benchmarks>/judge_alpaca.tsv"
    localrule: True
    conda:
        "../envs/mt_bench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=minutes(240, 960),
    params:
        code=code("judge_alpaca"),
        settings=lambda w: alpaca_judge(experiment),
    shell:
        "python {input.program:q} --judge openai --answers {input.answers:q}"
        " --questions {input.questions:q} --outputs {input.outputs:q} --prompts {input.prompt:q}"
        " {params.settings:q} --output {output.annotations:q} > {log:q} 2>&1"


rule alpaca_eval:
    """Raw and length-controlled win rates, beside printed ones."""
    input:
        program=program("alpaca_eval"),
        annotations=rules.judge_alpaca.output.annotations,
        gamed=rules.fetch_alpaca.output.gamed,
        printed=resource("paper/alpaca_eval.csv") if ALPACA.get("printed") else [],
    output:
        csv="<results>/tables/alpaca_eval.csv",
        md="<results>/tables/alpaca_eval.md",
        tex="<results>/tables/alpaca_eval.tex",
        html=table("alpaca_eval"),
        values=f"{RESULTS}/metrics/alpaca_eval.parquet",
    log:
        "<logs>/alpaca_eval.log",
    benchmark:
        "<benchmarks>/alpaca_eval.tsv"
    localrule: True
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("alpaca_eval"),
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=table_rows(experiment, experiment.rows),
        paper=lambda w, input: flags("--paper", [input.printed] if input.printed else []),
    shell:
        "python {input.program:q} --annotations {input.annotations:q} --gamed {input.gamed:q}"
        " {params.rows:q} {params.paper:q} --values {output.values:q}"
        " --output {params.output:q} > {log:q} 2>&1"


METRICS += [rules.alpaca_eval.output.values] if ALPACA else []
