"""The dialogues that targets are trained on."""

from collections.abc import Iterator

from fusionchat.checks.common import missing_file, one_of
from fusionchat.schema import Config


def faults(config: Config) -> Iterator[str]:
    """Faults of `data`."""
    data = config["data"]
    yield from one_of("data", data, ("world", "path", "repo"))
    yield from missing_file("data.path", data)
    yield from missing_file("data.exclude", data)
    if "repo" in data and "file" not in data:
        yield "data.file: name the file of the dataset to take"
    if "world" in data:
        yield from _generated(data)


def _generated(data: Config) -> Iterator[str]:
    """Of a generated mixture the number of dialogues is known."""
    mixture = data["world"]["mixture"]
    left = mixture - data["heldout"]
    if left < 1:
        yield f"data.heldout: none of {mixture} dialogues (data.world.mixture) is left to train on"
    if data["shards"] > left:
        yield f"data.shards: there are only {left} dialogues for {data['shards']} shards"
    for name, variant in data["world"].get("variants", {}).items():
        if variant.get("dialogues", 0) > left:
            yield (
                f"data.world.variants.{name}.dialogues: the mixture has {left} dialogues that are "
                "not held out"
            )
