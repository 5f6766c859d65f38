"""Where the inputs of the rules come from, in the order of the pipeline."""

import json
from fusionchat.mt_bench.fetching import LOCAL_NAMES

ORIGINS = {
    **{name: model for name, model in MODELS.items() if "pretrain" not in model},
    **RELEASED,
}
REFERENCES = {name: origin for name, origin in ORIGINS.items() if "repo" in origin}
if "repo" in config["data"]:
    REFERENCES["data-set"] = config["data"]
PUBLISHED = {
    name: {
        "repo": "lmsys/mt-bench",
        "file": f"data/mt_bench/model_answer/{entry['published']}.jsonl",
    }
    for name, entry in ELSEWHERE.items()
    if "published" in entry
}
REFERENCES |= PUBLISHED
LOCK = Path("configs", f"{config['name']}.lock.json")
LOCKED = json.loads(LOCK.read_text()) if LOCK.is_file() else {}


def lock_file(name):
    """A committed lock that has the entry takes precedence over the run's own."""
    return str(LOCK) if name in LOCKED else f"{RESULTS}/locks/{name}.json"


def model_origin(wildcards):
    """The lock of a model on the hub, or the configuration in its local folder."""
    origin = ORIGINS[wildcards.model]
    return lock_file(wildcards.model) if "repo" in origin else f"{origin['path']}/config.json"


def released_dump(wildcards):
    """The folder of released distribution matrices that stands in for a model's dump."""
    return config["models"][wildcards.model]["logits"]


def mixture(wildcards):
    """The dialogues' file: generated, local or fetched."""
    if "world" in config["data"]:
        return f"{RESULTS}/world/mixture.json"
    return config["data"].get("path", f"{RESULTS}/data/mixture.json")


def alignment_of(name):
    """A setting of the alignment: the run's, or what the target of this variant does otherwise."""

    def value(wildcards):
        own = config["targets"].get(wildcards.variant[1:], {}).get("alignment", {})
        return own.get(name, config["alignment"][name])

    return value


def sources_to_align(target):
    """A target's sources but the pivot: of the Self control, its own dump is all the fusion has."""
    return [source for source in config["targets"][target]["sources"] if source != PIVOT]


def aligned_names(target):
    """What a target's sources are called once aligned: apart where the target has its own way."""
    variant = f"@{target}" if f"@{target}" in VARIANTS else ""
    return [f"{source}{variant}" for source in sources_to_align(target)]


def aligned_sources(wildcards):
    """The aligned stores of a target's sources, in the config's order."""
    return collect(
        f"{RESULTS}/aligned/{{source}}/{{shard}}.parquet",
        source=aligned_names(wildcards.target),
        shard=wildcards.shard,
    )


def alignment_reports(wildcards):
    """Reports that exist only when enough of a source's probability was kept."""
    return [f"{RESULTS}/alignment/{name}.json" for name in aligned_names(wildcards.target)]


def training_data(wildcards):
    """Fused distributions, or plain dialogues for a target without sources."""
    target = wildcards.target
    folder = f"fused/{target}" if config["targets"][target]["sources"] else "dialogues"
    return [f"{RESULTS}/{folder}/{shard}.parquet" for shard in SHARDS]


def merged_targets(wildcards):
    """Manifests of the targets that a merge takes."""
    return [checkpoint(target) for target in config["merges"][wildcards.merge]["targets"]]


def variations(wildcards):
    """The tables of squared change of a merge's targets."""
    names = config["merges"][wildcards.merge]["targets"]
    return [f"{RESULTS}/variation/{target}.parquet" for target in names]


GENERATED = "world" in config["data"] and "questions" not in config["mt_bench"]


def local_benchmark(wildcards):
    """The files of MT-Bench that lie in the folder that the config names, and its references."""
    named = config["mt_bench"]
    places = [name for names in LOCAL_NAMES.values() for name in names]
    paths = [Path(named["questions"], name) for name in places] if "questions" in named else []
    found = [str(path) for path in paths if path.is_file()]
    return found + [named[key] for key in ("references",) if key in named]


def benchmark_file(name):
    """One of MT-Bench's files, as fetch_questions left them."""
    return f"{RESULTS}/mt_bench/questions/{name}"


def questions(wildcards):
    """The questions' file: generated with the world, local or fetched."""
    return f"{RESULTS}/world/questions.jsonl" if GENERATED else benchmark_file("question.jsonl")


def published_answers(wildcards):
    """An answer file that somebody else made: a local one, or one that is fetched."""
    entry = ELSEWHERE[wildcards.model]
    fetched = f"{RESULTS}/mt_bench/published/{wildcards.model}.jsonl"
    return [] if "api" in entry else entry.get("answers", fetched)


def model_checkpoint(wildcards):
    """The manifest of a model, target or merged model."""
    return checkpoint(wildcards.model)


def judge_prompts(wildcards):
    """The prompts of a judge that is an LLM; a program needs none."""
    kind = config["mt_bench"]["judges"][wildcards.judge]["kind"]
    return [] if kind == "rule" else benchmark_file("judge_prompts.jsonl")


def references(wildcards):
    """Reference answers, for a judge that is an LLM; generated questions hold their own."""
    needed = judge_prompts(wildcards) and not GENERATED
    return benchmark_file("references.jsonl") if needed else []
