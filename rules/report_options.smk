"""Rows, names and command line words of tables, figures and the report."""


def table_rows(names):
    """--row GROUP:NAME:LABEL[:PAPER_ROW] for each model, in the paper's groups."""
    groups = {"Comparison": "comparisons", "Source": "models", "Target": "targets"}
    groups |= {"Fused": "merges"}
    rows = {
        name: ":".join(
            [
                group,
                name,
                entry.get("label", name),
                *([entry["paper_row"]] if "paper_row" in entry else []),
            ]
        )
        for group, section in groups.items()
        for name, entry in config[section].items()
    }
    return flags("--row", [rows[name] for name in names])


ROWS = table_rows(RATED)
PRINTED_ROWS = flags(
    "--row",
    [
        f"Paper:{name}:{entry.get('label', name)}:{entry['paper']}"
        for name, entry in config["comparisons"].items()
        if "paper" in entry
    ],
)
JUDGE = next(iter(config["mt_bench"]["judges"]))
JUDGE_MODEL = config["mt_bench"]["judges"][JUDGE].get("model", JUDGE)
BASELINE = next((name for name, t in config["targets"].items() if not t["sources"]), PIVOT)
COARSE_TO_FINE = ["model", "layer", "module", "matrix", "parameter"]
GRANULARITIES = sorted(
    (n for n, m in config["merges"].items() if m["method"] == "varm" and n not in RELEASED),
    key=lambda name: COARSE_TO_FINE.index(config["merges"][name]["granularity"]),
)


MATRIX = next((n for n in GRANULARITIES if config["merges"][n]["granularity"] == "matrix"), None)
SHOWN = [*config["models"], BASELINE, *([MATRIX] if MATRIX else [])]
TWICE = list(config["merges"][MATRIX]["targets"])[:1] if MATRIX else []
CASE = [BASELINE, *config["merges"][MATRIX]["targets"], MATRIX] if MATRIX else [BASELINE]
TAUGHT = [name for name in TRAINED if config["targets"][name]["sources"]]
FIGURE_NAMES = ["scores", "radar", "figure1"]
FIGURE_NAMES += ["weights"] if MATRIX else []
FIGURE_NAMES += ["winners", "cross_entropy", "alignment"] if TAUGHT else []
FIGURE_NAMES += ["losses"] if TRAINED else []
FIGURE_NAMES += ["costs"]


def figure(name):
    """A figure that also goes into Snakemake's own report."""
    caption = f"../resources/captions/{name}.rst"
    return report(f"{RESULTS}/figures/{name}.svg", caption=caption, category="Figures")


def table(name):
    """A table that also goes into Snakemake's own report."""
    caption = f"../resources/captions/{name}.rst"
    return report(f"{RESULTS}/tables/{name}.html", caption=caption, category="Tables")


def paper(name):
    """The paper's numbers, from the working directory."""
    return os.path.relpath(Path(workflow.basedir, "resources", "paper", f"{name}.csv"))


def loss_files(wildcards, input):
    """TARGET=FILE for each target's losses."""
    return [f"{name}={file}" for name, file in zip(TRAINED, input.losses, strict=True)]


def shards_of(folder, names):
    """NAME=FILE,FILE for the shards of each name in one of the run's folders."""
    return [
        f"{name}=" + ",".join(f"{RESULTS}/{folder}/{name}/{shard}.parquet" for shard in SHARDS)
        for name in names
    ]


def null_controls(wildcards):
    """--null A:B:WHY for merges that are the same average by construction: TA and Linear."""
    averages = {
        name: {t: w / sum(merge["targets"].values()) for t, w in merge["targets"].items()}
        for name, merge in config["merges"].items()
        if merge["method"] in ("linear", "task_arithmetic") and name not in RELEASED
    }
    names = list(averages)
    pairs = [
        (a, b) for i, a in enumerate(names) for b in names[i + 1 :] if averages[a] == averages[b]
    ]
    return flags("--null", [f"{a}:{b}:the same weighted average" for a, b in pairs])


def equal_changes(wildcards, input):
    """--equal-changes NAME=FILE: a target of VaRM, whose changes are then taken twice."""
    pairs = zip(TWICE, input.changes, strict=True)
    return flags("--equal-changes", [f"{name}={file}" for name, file in pairs])


def sweep_rows(wildcards):
    """--row for each model of a sweep."""
    return table_rows(config["sweeps"][wildcards.sweep])


def sweep_baseline(wildcards):
    """What a sweep is compared with: its first model."""
    return config["sweeps"][wildcards.sweep][0]


def sweep_nll(wildcards):
    """Held-out likelihoods of a sweep's models."""
    names = config["sweeps"][wildcards.sweep] if HELD_OUT else []
    return [f"{RESULTS}/nll/{name}.json" for name in names]
