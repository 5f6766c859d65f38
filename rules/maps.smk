"""Maps: where, by one or two settings, models gain over their controls.

In: mt_bench/scores.parquet. Out: maps/{map} as csv, Markdown, LaTeX and HTML.
"""

from fusionchat.maps import axis_words, point_words

try:
    POINTS = {name: point_words(experiment, name) for name in config["maps"]}
except UserError as error:
    raise WorkflowError(str(error)) from None


rule gains:
    """Gains over the controls at every point of a map, paired by question and training seed."""
    input:
        code=code("gains"),
        program=program("gains"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        csv="<results>/maps/{map}.csv",
        md="<results>/maps/{map}.md",
        tex="<results>/maps/{map}.tex",
        html="<results>/maps/{map}.html",
    log:
        "<logs>/gains/{map}.log",
    benchmark:
        "<benchmarks>/gains/{map}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.csv, strip_suffix=".csv"),
        judge=experiment.judge,
        controls=lambda w: config["maps"][w.map]["controls"],
        points=lambda w: POINTS[w.map],
        axes=lambda w: axis_words(experiment, w.map),
    shell:
        "python {input.program:q} --scores {input.scores:q} --judge {params.judge:q}"
        " {params.points:q} --control {params.controls:q} {params.axes:q}"
        " --title 'Map: {wildcards.map}' --output {params.output:q} > {log:q} 2>&1"
