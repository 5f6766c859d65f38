"""Command line words for the rules that answer and judge MT-Bench."""


def benchmark_flags():
    """Where fetch_questions finds what the config names; the rest is downloaded."""
    options = {"questions": "--source", "references": "--references"}
    named = config["mt_bench"]
    return [w for key, option in options.items() if key in named for w in (option, named[key])]


def answer_template(wildcards):
    """The model's own chat template, the pivot's for targets and merged models."""
    return MODELS.get(wildcards.model, {}).get("template", config["template"])


def answer_device(wildcards):
    """The device of a model, `auto` where it needs several GPUs."""
    several = config["device"] == "cuda" and model_gpus(wildcards) > 1
    return "auto" if several else config["device"]


def decoding_flags():
    """Which engine decodes, and --top-k where sampling is limited."""
    named = config["mt_bench"]
    return [
        "--engine",
        named["engine"],
        *flags("--top-k", [named["top_k"]] if "top_k" in named else []),
    ]


def endpoint_flags(endpoint, model_option):
    """Every setting of an endpoint that the config gives; the option has the key's name."""
    options = {"model": model_option, "budget": "--budget-usd"}
    words = []
    for key, value in endpoint.items():
        if key != "kind" and value is not False:
            words.append(options.get(key, f"--{key.replace('_', '-')}"))
            words += [] if value is True else [str(value)]
    return words


def elsewhere_flags(wildcards, input):
    """How the answers of a model that does not run here are got."""
    entry = config["comparisons"][wildcards.model]
    if "api" not in entry:
        return ["--engine", "published", "--model", str(input.published)]
    store = f"{RESULTS}/mt_bench/paid_answers/{wildcards.model}"
    words = ["--engine", "api", "--store", store]
    return [*words, *endpoint_flags(entry["api"], "--api-model")]


def judge_flags(wildcards, input):
    """The options of a judge; the key itself stays in the environment."""
    judge = config["mt_bench"]["judges"][wildcards.judge]
    if judge["kind"] == "rule":
        return flags("--repeats", [judge["repeats"]])
    store = f"{RESULTS}/mt_bench/paid/{wildcards.judge}"
    return [
        *flags("--judge-name", [wildcards.judge]),
        *flags("--prompts", [input.prompts]),
        *flags("--references", [input.references] if input.references else []),
        *flags("--store", [store]),
        *endpoint_flags(judge, "--judge-model"),
    ]
