"""Before any training: is a source worth it? A sample of the dialogues goes through the run's own stages.

In: the dialogues and all models. Out: worth.md, from the sample's dump (logits/{model}/sample.*) and
its alignment (alignment/{source}.sample.json).
"""


rule worth:
    """Verdict on each source: what it would teach, what reaches the pivot's vocabulary."""
    input:
        program=program("worth"),
        possible=possible("worth"),
        alignment=collect(f"<results>/alignment/{{source}}{SAMPLE}.json", source=SOURCES),
    output:
        markdown="<results>/worth.md",
    log:
        "<logs>/worth.log",
    benchmark:
        "<benchmarks>/worth.tsv"
    localrule: True
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("worth"),
        min_mass=lookup(dpath="alignment/min_mass", within=config),
    shell:
        "python {input.program:q} --alignment {input.alignment:q}"
        " --min-mass {params.min_mass} --output {output.markdown:q} 2>&1 | tee {log:q}"
