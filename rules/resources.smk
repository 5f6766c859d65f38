"""What a job asks for, and how a program starts on several devices or nodes."""

from fusionchat.cluster import attempts
from fusionchat.cluster.costs.sizes import BYTES, pretrained_size

if "snakemake_executor_plugin_slurm" in sys.modules:
    from fusionchat.cluster import quick_groups, slurm_executor

    slurm_executor.install()
    quick_groups.install()


def doubles(base, cap, reason):
    """A resource that doubles after each attempt that failed for this reason, up to `cap`."""

    def value(wildcards, attempt, rulename):
        return min(base * 2 ** attempts.doublings(rulename, wildcards, attempt, reason), cap)

    return value


def memory(base, cap):
    """MB, doubled after an attempt that ran out of memory."""
    return doubles(base, cap, attempts.MEMORY)


def minutes(base, cap):
    """Minutes, doubled after an attempt over its time limit."""
    return doubles(base, cap, attempts.TIME)


def each_shard(total):
    """Minutes for one shard of what takes `total` for a whole mixture in eight."""
    return max(30, min(total // 8, total // len(SHARDS)))


def pretraining_memory(wildcards, attempt, rulename):
    """MB for a model from scratch: weights with gradients and Adam's moments, or weights alone."""
    shape = config["models"][wildcards.model]["pretrain"]
    bytes_each = BYTES[shape["dtype"]] * (5 if shape["steps"] else 1.5)
    more = 2 ** attempts.doublings(rulename, wildcards, attempt, attempts.MEMORY)
    return round((4_000 + 1_000 * bytes_each * pretrained_size(shape).parameters) * more)


def pretraining_time(wildcards, attempt, rulename):
    """Minutes: of the rehearsal's true shapes each billion parameters is drawn and written."""
    size = pretrained_size(config["models"][wildcards.model]["pretrain"])
    more = 2 ** attempts.doublings(rulename, wildcards, attempt, attempts.TIME)
    return round((30 + 4 * size.parameters) * more)


def model_threads(wildcards):
    """CPU threads of a job that runs a model, or what --cores allows; the scale model's run side by side."""
    scale_model = "pretrain" in config["models"][PIVOT]
    return 1 if scale_model and config["device"] == "cpu" else 8


def model_gpus(wildcards):
    """GPUs for a forward pass of the job's model."""
    return experiment.gpus(wildcards.model)


def devices(wildcards):
    """Devices that share one model."""
    return max(1, model_gpus(wildcards))


def answer_device(wildcards):
    """The device of a model that answers as one process, `auto` where it needs several GPUs."""
    several = config["device"] == "cuda" and model_gpus(wildcards) > 1
    return "auto" if several else config["device"]


MOST_GPUS = max(model["gpu"] for model in config["models"].values())


def own_gpus(count):
    """What stands before a program that needs GPUs, which jobs on one machine or in a group share."""
    needed = config["device"] == "cuda" and count > 0
    return f"python {program('on_gpus')} {count} " if needed else ""


def forward_launcher(wildcards):
    """How a forward pass starts: a model that needs several devices gets a process for each.

    Code of a model's own has no plan for that; its layers are spread by one process.
    """
    foreign = "remote_code" in config["models"].get(wildcards.model, {})
    count = 1 if foreign else devices(wildcards)
    run = f"python -m torch.distributed.run --standalone --nproc_per_node {count}"
    return own_gpus(model_gpus(wildcards)) + (run if count > 1 else "python")


def answer_launcher(wildcards):
    """How a model's answers start: as one process on all its GPUs."""
    return own_gpus(model_gpus(wildcards)) + "python"


def launcher(wildcards):
    """How a training starts: alone, as a process a GPU, or as a process a GPU on many nodes.

    DeepSpeed wants torchrun for one process too. $STOP, set in training.smk, stands before what must
    hear that the job's time is over: torchrun or the program, never srun, which kills its tasks
    when it is told to end.
    """
    gpus, nodes = config["training"]["gpu"], config["training"]["nodes"]
    start = "${STOP-} " + own_gpus(gpus // nodes) + "python"
    if gpus < 2 and "deepspeed" not in config["training"]:
        return start
    run = f"{start} -m torch.distributed.run --shutdown-timeout 270"
    run = f"{run} --nproc_per_node {max(1, gpus // nodes)}"
    if nodes == 1:
        return f"{run} --standalone"
    # The job's shell runs on its first node. Of SLURM's variables the plugin leaves it the job's
    # number alone, so everything that srun needs stands here. The port differs between jobs, as
    # several may share a node.
    return (
        f"srun --nodes {nodes} --ntasks {nodes} --ntasks-per-node 1"
        f" --cpus-per-task {model_threads(wildcards)} --kill-on-bad-exit=1 --wait 0"
        f' {run} --nnodes {nodes} --rdzv_backend c10d --rdzv_id "$SLURM_JOB_ID"'
        ' --rdzv_endpoint "$(hostname):$((20000 + SLURM_JOB_ID % 10000))"'
    )


# GPUs of several nodes are asked for by the node, since a number for the whole job may fall unevenly.
# Only there, too, `mpi`: its mere presence drops the plugin's own srun.
NODES = config["training"]["nodes"]
TRAINING_GPUS = (
    {
        "gres": f"gpu:{config['training']['gpu'] // NODES}",
        "mpi": "srun",
        "tasks": NODES,
        "tasks_per_gpu": 0,
    }
    if NODES > 1
    else {"gpu": config["training"]["gpu"]}
)
