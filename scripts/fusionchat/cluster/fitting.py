"""Whether a run's jobs fit into the memory of a GPU, and what to change where they do not."""

from collections.abc import Callable, Collection, Iterator

from fusionchat.cluster.costs import memory
from fusionchat.cluster.costs.memory import GB
from fusionchat.cluster.plan import Plan

MORE_GPUS = (2, 4, 8)
JUDGED = ("train_target", "answer", "dump_logits")


def too_large(plan: Plan, gigabytes: float, rules: Collection[str] = JUDGED) -> list[str]:
    """A line for each job of these rules that needs more than a GPU has, with what would make it
    fit; nothing where nobody knows how much it has.
    """
    if not plan.on_gpus or not gigabytes:
        return []
    limit = gigabytes * GB
    trained = plan.experiment.trained and "train_target" in rules
    found = list(_training(plan, limit)) if trained else []
    names = [name for name in plan.experiment.models if name not in plan.experiment.elsewhere]
    for name in names:
        found += _passes(plan, name, limit, rules)
    return found


def _line(key: str, needed: float, limit: float, ways: list[str]) -> str:
    change = f"; set {' or '.join(ways[:2])}" if ways else "; take a smaller model"
    return f"GPU memory: {key} needs {needed / GB:.0f} GB, {limit / GB:.0f} GB are there{change}"


def _training(plan: Plan, limit: float) -> Iterator[str]:
    asked = plan.training
    if asked.gpu > limit:
        yield _line("training", asked.gpu, limit, memory.remedies(asked, limit))


def _passes(plan: Plan, name: str, limit: float, rules: Collection[str]) -> Iterator[str]:
    """Forward passes of a model: its dump, its held-out likelihood and its answers."""
    config, devices = plan.config, max(1, plan.experiment.gpus(name))
    budget, evaluation = config["logits"]["token_budget"], config["precision"]["evaluation"]
    wanted: dict[str, Callable[[int, str], float]] = {
        "answer": lambda count, dtype: plan.answering_bytes(name, dtype, count)
    }
    types = {"answer": evaluation}
    if plan.experiment.taught and name in config["models"] and name not in plan.experiment.imported:
        wanted["dump_logits"] = lambda count, dtype: plan.scoring_bytes(name, dtype, budget, count)
        types["dump_logits"] = config["logits"]["dtype"]
    for rule, bytes_ in wanted.items():
        needed = memory.on_gpu(bytes_(devices, types[rule]))
        if needed <= limit or rule not in rules:
            continue
        ways = []
        if types[rule] == "float32" and memory.on_gpu(bytes_(devices, "bfloat16")) <= limit:
            ways.append(
                ("logits.dtype" if rule == "dump_logits" else "precision.evaluation") + ": bfloat16"
            )
        fits = [
            n for n in MORE_GPUS if n > devices and memory.on_gpu(bytes_(n, types[rule])) <= limit
        ]
        section = "models" if name in config["models"] else "comparisons"
        ways += [f"{section}.{name}.gpu: {n}" for n in fits[:1]]
        ways.append(
            "a smaller logits.token_budget"
            if rule == "dump_logits"
            else "a smaller mt_bench.batch_size"
        )
        yield _line(f"{rule} of {name}", needed, limit, ways)
