"""Sampling whose noise depends on what is sampled, never on how the work is batched."""

import torch

# Constants of SplitMix64; torch's int64 wraps around, so the same bits come out on every device.
GOLDEN = -0x61C8864680B583EB
MIX_1 = -0x40A7B892E31B1A47
MIX_2 = -0x6B2FB644ECCEEE15


def choose_tokens(
    logits: torch.Tensor,
    temperatures: torch.Tensor,
    keys: torch.Tensor,
    steps: torch.Tensor,
    top_k: int | None = None,
) -> torch.Tensor:
    """Sample one token a row: argmax of logits / temperature + Gumbel noise; greedy where it is 0.

    logits float [B, V]; temperatures float32 [B]; keys int64 [B] (`stream_key`); steps int64 [B];
    `top_k` samples among a row's so many most probable tokens only (None: among all).
    The noise of token v is a function of (key, step, v) alone. Compared with inverting the
    cumulative distribution, the result changes with rounding noise only where two tokens tie.
    Returns int64 [B].
    """
    chosen = logits.argmax(-1)
    rows = torch.nonzero(temperatures > 0).squeeze(1)
    if len(rows):
        scaled = logits[rows].float() / temperatures[rows, None]
        if top_k is not None and top_k < scaled.shape[1]:
            least = scaled.topk(top_k).values[:, -1:]
            scaled = scaled.masked_fill(scaled < least, -torch.inf)
        noise = gumbel_noise(keys[rows], steps[rows], logits.shape[1])
        chosen[rows] = (scaled + noise).argmax(-1)
    return chosen


def gumbel_noise(keys: torch.Tensor, steps: torch.Tensor, size: int) -> torch.Tensor:
    """Standard Gumbel noise float32 [B, size], element v a function of (key, step, v)."""
    streams = _mix(keys ^ _mix(steps * GOLDEN))
    counters = torch.arange(1, size + 1, device=keys.device) * GOLDEN
    bits = _mix(streams[:, None] + counters)
    # 23 bits and a half: never 0 or 1, and exact in float32.
    uniform = (_shift(bits, 41).float() + 0.5) * 2.0**-23
    return -torch.log(-torch.log(uniform))


def _shift(values: torch.Tensor, count: int) -> torch.Tensor:
    return (values >> count) & ((1 << (64 - count)) - 1)


def _mix(values: torch.Tensor) -> torch.Tensor:
    values = (values ^ _shift(values, 30)) * MIX_1
    values = (values ^ _shift(values, 27)) * MIX_2
    return values ^ _shift(values, 31)
