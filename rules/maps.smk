"""Maps: where, by one or two settings, models gain over their controls.

In: mt_bench/scores.parquet. Out: maps/{map} as csv, Markdown, LaTeX, HTML, svg and png.
"""

from fusionchat.maps import axis_words, point_words

try:
    POINTS = {name: point_words(experiment, name) for name in config["maps"]}
except UserError as error:
    raise SystemExit(f"error: {error}") from None


rule gains:
    """Gains over the controls at every point of a map, paired by question and training seed."""
    input:
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
        code=code("gains"),
        output=subpath(output.csv, strip_suffix=".csv"),
        judge=experiment.judge,
        controls=lambda w: config["maps"][w.map]["controls"],
        points=lambda w: POINTS[w.map],
        axes=lambda w: axis_words(experiment, w.map),
    shell:
        "python {input.program:q} --scores {input.scores:q} --judge {params.judge:q}"
        " {params.points:q} --control {params.controls:q} {params.axes:q}"
        " --title 'Map: {wildcards.map}' --output {params.output:q} > {log:q} 2>&1"


rule figure_map:
    """The same as a figure: a panel for each model and control, or a curve where there is no y."""
    input:
        program=program("figure_map"),
        gains="<results>/maps/{map}.csv",
    output:
        svg="<results>/maps/{map}.svg",
        png="<results>/maps/{map}.png",
    log:
        "<logs>/figure_map/{map}.log",
    benchmark:
        "<benchmarks>/figure_map/{map}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("figure_map"),
        output=subpath(output.svg, strip_suffix=".svg"),
        axes=lambda w: axis_words(experiment, w.map),
    shell:
        "python {input.program:q} --gains {input.gains:q} {params.axes:q} --output {params.output:q}"
        " > {log:q} 2>&1"
