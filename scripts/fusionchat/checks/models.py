"""Source LLMs and the models that are compared with them."""

from collections import Counter
from collections.abc import Iterator

from fusionchat.checks.common import missing_file, missing_folder, missing_model, one_of, unknown
from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.secrets import check_base_url, check_body, check_headers
from fusionchat.schema import Config


def faults(config: Config) -> Iterator[str]:
    """Faults of `models` and `comparisons`, and of the labels of all rows."""
    if config["pivot"] not in config["models"]:
        yield unknown("pivot", config["pivot"], list(config["models"]))
    for name, model in config["models"].items():
        yield from _model(f"models.{name}", model)
        if "pretrain" in model:
            yield from _pretrain(f"models.{name}.pretrain", model["pretrain"], config["data"])
    yield from _comparisons(config)
    yield from _names(config)
    yield from _labels(config)


def _model(key: str, model: Config) -> Iterator[str]:
    yield from one_of(key, model, ("pretrain", "path", "repo"))
    if "remote_code" in model and "repo" not in model:
        yield f"{key}.remote_code: only for a model with repo"
    commits = {model[name] for name in ("revision", "remote_code") if name in model}
    if len(commits) > 1:
        yield f"{key}.revision: differs from remote_code, the commit that you read"
    yield from missing_model(f"{key}.path", model)
    if "logits" in model and "pretrain" in model:
        yield f"{key}.logits: not for a model that the run trains itself"
    yield from missing_folder(f"{key}.logits", model)


def _pretrain(key: str, shape: Config, data: Config) -> Iterator[str]:
    if "world" not in data:
        yield f"{key}: needs data.world to train on"
    if shape["dtype"] == "bfloat16" and shape["steps"]:
        yield f"{key}.dtype: weights are trained in float32; steps must be 0"
    hidden, heads, groups = shape["hidden_size"], shape["heads"], shape["kv_heads"]
    if hidden % (2 * heads):
        yield f"{key}.hidden_size: {hidden} is not an even multiple of heads = {heads}"
    if heads % groups:
        yield f"{key}.kv_heads: {groups} does not divide heads = {heads}"


def _comparisons(config: Config) -> Iterator[str]:
    known = {*config["models"], *config["targets"], *config["merges"]}
    for name, entry in config["comparisons"].items():
        key = f"comparisons.{name}"
        if name in known:
            yield f"{key}: the name is already a model's, target's or merge's; choose another"
        yield from one_of(key, entry, ("path", "repo", "api", "published", "answers", "paper"))
        yield from missing_model(f"{key}.path", entry)
        yield from missing_file(f"{key}.answers", entry)
        if "api" in entry:
            yield from endpoint(f"{key}.api", entry["api"])


def endpoint(key: str, settings: Config) -> Iterator[str]:
    """Faults of a model behind an API."""
    if not {"model", "base_url"} <= settings.keys():
        yield f"{key}: an endpoint needs model and base_url"
        return
    try:
        check_base_url(settings["base_url"], f"{key}.base_url")
        check_headers(settings.get("headers", {}), f"{key}.headers")
        for name in ("extra_body", "chat_template_kwargs"):
            check_body(settings.get(name, {}), f"{key}.{name}")
    except UserError as error:
        yield str(error)
    if "budget" in settings and not {"input_price", "output_price"} & settings.keys():
        yield f"{key}.budget: dollars need input_price and output_price"


def _names(config: Config) -> Iterator[str]:
    """Names become folders, and many disks do not tell capital letters from small ones."""
    seen: dict[str, str] = {}
    for section in ("models", "comparisons", "targets", "merges"):
        for name in config[section]:
            key = f"{section}.{name}"
            other = seen.setdefault(name.lower(), key)
            if other.rpartition(".")[2] != name:
                yield f"{key}: differs from {other} only in capital letters; choose another name"


def _labels(config: Config) -> Iterator[str]:
    """Rows of one label cannot be told apart."""
    sections = ("comparisons", "models", "targets", "merges")
    labels = {
        f"{section}.{name}": " ".join(entry.get("label", name).split())
        for section in sections
        for name, entry in config[section].items()
    }
    (label, count), *_ = Counter(labels.values()).most_common(1)
    if count > 1:
        first, second, *_ = (key for key, other in labels.items() if other == label)
        yield f"{second}.label: {label!r} is already the label of {first}; choose another"
