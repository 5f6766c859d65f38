"""Keys without effect where they stand, which the command line refuses, too."""

from collections.abc import Collection, Iterator

from fusionchat.schema import Config, part

# Of a merge, the methods that heed a key; all heed the others.
METHODS = {
    "granularity": ("varm",),
    "change": ("varm",),
    "normalise": ("varm",),
    "density": ("ties", "dare_linear"),
    "select_topk": ("sce", "sce_mergekit"),
    "seed": ("dare_linear",),
}
# Of where a model or data set comes from, the origins that heed a key.
LOADED = ("path", "repo")
ORIGINS: dict[str, dict[str, tuple[str, ...]]] = {
    "data": {"revision": ("repo",), "file": ("repo",)},
    "models": {"revision": ("repo",)},
    "comparisons": {
        "revision": ("repo",),
        "end_of_turn": LOADED,
        "system_message": (*LOADED, "api"),
    },
    "checkpoint": {"revision": ("repo",)},
}


def faults(config: Config) -> Iterator[str]:
    """The keys that a configuration gives in vain, their defaults left out."""
    yield from _lonely("data", "data", config["data"])
    for section in ("models", "comparisons"):
        for name, entry in config[section].items():
            yield from _lonely(f"{section}.{name}", section, entry)
    for section in ("targets", "merges"):
        for name, entry in config[section].items():
            released = entry.get("checkpoint", {})
            yield from _lonely(f"{section}.{name}.checkpoint", "checkpoint", released)
    for name, merge in config["merges"].items():
        for key in _given("merges.*", merge, METHODS):
            if merge["method"] not in METHODS[key]:
                yield f"merges.{name}.{key}: only for method {' or '.join(METHODS[key])}"
    for name, judge in config["mt_bench"]["judges"].items():
        if judge["kind"] != "openai":
            for key in _given("mt_bench.judges.*", judge, judge.keys() - {"kind", "repeats"}):
                yield f"mt_bench.judges.{name}.{key}: only for a judge of kind openai"


def _given(place: str, entry: Config, keys: Collection[str]) -> list[str]:
    """The keys that an entry has with another value than the default."""
    return [
        key
        for key in sorted(keys)
        if key in entry and entry[key] != part(f"{place}.{key}").get("default")
    ]


def _lonely(key: str, kind: str, entry: Config) -> Iterator[str]:
    """Keys of an entry without the origin that they belong to."""
    for name, origins in ORIGINS[kind].items():
        if name in entry and not entry.keys() & set(origins):
            yield f"{key}.{name}: only with {' or '.join(origins)}"
