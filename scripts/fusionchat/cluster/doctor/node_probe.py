"""Run on compute nodes by the doctor: what a job sees there, a line a node. Needs no package.

Arguments: a file to leave for the doctor, the number of nodes, and `torch` where GPUs are asked
for. With several nodes, the first one listens where a training would meet, and the others connect.
"""

import os
import socket
import sys
import time
from pathlib import Path

PATIENCE = 60.0  # seconds for the other nodes


def gpus() -> str:
    """What torch and the scheduler say about GPUs."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "none") or "none"
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9 if count else 0.0
    bf16 = count > 0 and torch.cuda.is_bf16_supported()
    return f"visible {visible} cuda {count} bf16 {bf16} memory {memory:.1f}"


def meet(mark: Path, nodes: int) -> str:
    """Whether all nodes reach the first one by its host name, at a port of a training's."""
    place = mark.with_name(f"{mark.name}-host")
    port = 20000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 10000
    if int(os.environ.get("SLURM_PROCID", "0")) == 0:
        with socket.create_server(("", port)) as server:
            server.settimeout(PATIENCE)
            partial = place.with_name(f"{place.name}-partial")
            partial.write_text(socket.gethostname())
            partial.rename(place)
            for _ in range(nodes - 1):
                server.accept()[0].close()
        place.unlink()
        return "peers reached"
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        os.listdir(mark.parent)  # some network file systems look again only when asked for all
        if place.exists():
            socket.create_connection((place.read_text(), port), timeout=10).close()
            return "peers reached"
        time.sleep(0.2)
    return "peers lost"


def main(mark: Path, nodes: int, torch: bool) -> None:
    """Say what this node sees, and leave a file behind."""
    found = gpus() if torch else "visible none cuda 0 bf16 False memory 0"
    try:
        peers = meet(mark, nodes) if nodes > 1 else "peers none"
    except OSError as error:
        peers = f"peers lost: {error}"
    mark.touch()
    print(f"node {socket.gethostname()} {found} {peers}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), "torch" in sys.argv[3:])
