"""Command line words that programs get from the config, in the order of the pipeline."""


def reference(wildcards):
    """What to lock: --model, --data or --space, NAME=REPO[@REVISION][:FILE]."""
    entry = REFERENCES[wildcards.locked]
    commit = entry.get("remote_code", entry.get("revision"))
    revision = f"@{commit}" if commit else ""
    file = f":{entry['file']}" if "file" in entry else ""
    option = "--space" if wildcards.locked in PUBLISHED else "--data" if file else "--model"
    code = ["--remote-code"] if "remote_code" in entry else []
    return [option, f"{wildcards.locked}={entry['repo']}{revision}{file}", *code]


def origin_flags(wildcards, input):
    """Where fetch_model finds the model."""
    if wildcards.model in REFERENCES:
        return ["--lock", str(input.origin), "--name", wildcards.model]
    return ["--path", folder(input.origin)]


def named_sources(wildcards, input):
    """--source NAME=FILE for each source of the target."""
    pairs = zip(sources_to_align(wildcards.target), input.aligned, strict=True)
    return flags("--source", [f"{name}={file}" for name, file in pairs])


def training_flags(wildcards, input):
    """--fused or --dialogues with the target's shards."""
    fused = config["targets"][wildcards.target]["sources"]
    return ["--fused" if fused else "--dialogues", *map(str, input.data)]


def training_of(wildcards):
    """The settings of a target's training: the run's, and what the target does otherwise."""
    return config["training"] | config["targets"][wildcards.target].get("training", {})


def fusion_of(wildcards):
    """The settings of a target's fusion, likewise."""
    return config["fusion"] | config["targets"][wildcards.target].get("fusion", {})


def fusion_width(wildcards):
    """--top-k where a target is taught by fewer entries than were dumped."""
    kept = fusion_of(wildcards)
    return flags("--top-k", [kept["top_k"]] if "top_k" in kept else [])


def switches(wildcards):
    """Training options that are on or off, or may be absent."""
    training = training_of(wildcards)
    words = [
        f"--{name.replace('_', '-')}"
        for name in ("bf16", "tail", "gradient_checkpointing")
        if training[name]
    ]
    return [
        *words,
        *flags("--deepspeed", [training["deepspeed"]] if "deepspeed" in training else []),
    ]


def merge_option(name):
    """A setting of the rule's merge, so that a change in the config reruns that merge alone."""

    def value(wildcards):
        return config["merges"][wildcards.merge][name]

    return value


def merge_switches(wildcards):
    """--base where SLERP's is named, --allow-equal where the merge may equal one of its inputs."""
    merge = config["merges"][wildcards.merge]
    base = flags("--base", [merge["base"]] if "base" in merge else [])
    return base + ["--allow-equal"] * merge["allow_equal"]


def target_folders(wildcards, input):
    """--target NAME=FOLDER for each target of the merge."""
    names = config["merges"][wildcards.merge]["targets"]
    pairs = zip(names, input.targets, strict=True)
    return flags("--target", [f"{name}={folder(manifest)}" for name, manifest in pairs])


def target_weights(wildcards):
    """--weight NAME=WEIGHT for each target of the merge."""
    weights = config["merges"][wildcards.merge]["targets"]
    return flags("--weight", [f"{name}={weight}" for name, weight in weights.items()])


def named_variations(wildcards, input):
    """--variation NAME=FILE for each target of the merge."""
    names = config["merges"][wildcards.merge]["targets"]
    pairs = zip(names, input.variations, strict=True)
    return flags("--variation", [f"{name}={file}" for name, file in pairs])


def compared_folders(wildcards):
    """--target and --candidate NAME=FOLDER: what a released model is compared with."""
    folders = {name: folder(checkpoint(name)) for name in (*config["targets"], *MADE)}
    targets = config["merges"][wildcards.merge]["targets"]
    return [
        *flags("--target", [f"{name}={folders[name]}" for name in targets]),
        *flags("--candidate", [f"{name}={folders[name]}" for name in MADE]),
    ]
