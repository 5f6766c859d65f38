"""The training loss on sparse teachers (equations 1, 4 and 5), fused with the language-model head.

Loss a response token: clm_weight * (-log q[label]) + (1 - clm_weight) * D(teacher, q), where q is
the softmax of the target's logits and D the soft-target cross-entropy or the KL divergence.
Logits exist for a few rows at a time, so memory does not grow with batch x length x vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch

LOSSES = ("ce", "kl")
TINY = 1e-30


@dataclass(frozen=True)
class Teacher:
    """Soft targets of N response tokens: `ids` int64 [N, k] and `probabilities` [N, k].

    `tail` [N] is the mass of one extra bucket that stands for all other tokens; None: no bucket.
    A row without any mass teaches nothing. Slots with probability 0 repeat the id of the row's
    likeliest slot, so that an id never names two different masses.
    """

    ids: torch.Tensor
    probabilities: torch.Tensor
    tail: torch.Tensor | None


def teacher_from_logprobs(
    top_ids: torch.Tensor,
    top_logprobs: torch.Tensor,
    *,
    temperature: float = 1.0,
    tail: bool = False,
    known: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Teacher:
    """Turn stored log-probabilities [N, k] (-inf or NaN: unused) into soft targets.

    Without `tail` the k entries are renormalised (the paper), to `known` [N] where a transfer does
    not know all of a row; the rest becomes one more entry. With `tail` that entry is all the mass
    outside the k. The temperature divides the log-probabilities, the bucket's included.
    """
    logs = top_logprobs.to(dtype).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    taught = (logs > -torch.inf).any(dim=1, keepdim=True)
    bucket = tail or known is not None
    if bucket:
        if known is not None and not tail:
            share = torch.where(taught, known.to(dtype)[:, None], 0)
            whole = logs.exp().sum(dim=1, keepdim=True).clamp_min(TINY)
            logs = logs - whole.log() + share.log()
        outside = (1 - logs.exp().sum(dim=1, keepdim=True)).clamp_min(0)
        if known is not None and not tail:
            outside = torch.where(known[:, None] < 1, outside, 0)
        logs = torch.cat([logs, outside.log()], dim=1)
    probabilities = torch.softmax(logs / temperature, dim=1)
    probabilities = torch.where(taught, probabilities, 0)
    k = top_ids.shape[1]
    best = probabilities[:, :k].argmax(dim=1, keepdim=True)
    ids = top_ids.to(torch.int64)
    ids = torch.where(probabilities[:, :k] > 0, ids, ids.gather(1, best))
    return Teacher(ids, probabilities[:, :k], probabilities[:, k] if bucket else None)


@dataclass(frozen=True)
class LossParts:
    """Sums over the response tokens, scalars: `total` carries the gradient, the parts do not."""

    total: torch.Tensor
    clm: torch.Tensor
    fusion: torch.Tensor


def chunk_rows(vocabulary: int, device: torch.device) -> int:
    """Rows of logits to hold at a time: 64 MiB of float32 on a CPU, 256 MiB on a GPU."""
    elements = 2**24 if device.type == "cpu" else 2**26
    return max(32, elements // vocabulary)


def head_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    teacher: Teacher | None,
    *,
    clm_weight: float,
    kind: str = "ce",
    softcap: float | None = None,
    rows: int | None = None,
) -> LossParts:
    """Loss of N response tokens from the hidden states that predict them.

    `hidden` [N, H], `weight` [V, H] (the head, without bias), `labels` int64 [N]. The head's
    products run in autocast's dtype where autocast is on, else in `hidden`'s; everything behind
    them runs in float32 (float64 for float64 input). Without a teacher the loss is plain CLM.
    `softcap` c bounds logits as c * tanh(logits / c). `rows` logits are held at a time.
    """
    if kind not in LOSSES:
        raise ValueError(f"loss {kind!r} is not one of {LOSSES}")
    spec = _Spec(1.0 if teacher is None else clm_weight, softcap, rows)
    total, clm, fusion = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden,
        weight,
        labels,
        None if teacher is None else teacher.ids,
        None if teacher is None else teacher.probabilities,
        None if teacher is None else teacher.tail,
        spec,
    )
    if teacher is not None and kind == "kl":
        entropy = _entropy(teacher).to(total.dtype)
        fusion = fusion - entropy
        total = total - (1 - clm_weight) * entropy
    return LossParts(total, clm, fusion)


def _entropy(teacher: Teacher) -> torch.Tensor:
    """Sum of the teachers' entropies, nats."""
    entropy = -torch.xlogy(teacher.probabilities, teacher.probabilities).sum()
    if teacher.tail is not None:
        entropy = entropy - torch.xlogy(teacher.tail, teacher.tail).sum()
    return entropy


@dataclass(frozen=True)
class _Spec:
    clm_weight: float
    softcap: float | None
    rows: int | None


class _HeadLoss(torch.autograd.Function):
    """Computes the gradients in the forward pass, while a chunk's logits are at hand.

    So nothing of size [N, V] is kept or computed twice; the backward pass only scales.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        ids: torch.Tensor | None,
        probabilities: torch.Tensor | None,
        tail: torch.Tensor | None,
        spec: _Spec,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        product_dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
        wide = torch.promote_types(product_dtype, torch.float32)
        with torch.autocast(device, enabled=False):
            chunks = _Chunks(
                hidden.to(product_dtype), weight.to(product_dtype), wide, spec, ctx.needs_input_grad
            )
            count = hidden.shape[0]
            rows = spec.rows or chunk_rows(weight.shape[0], hidden.device)
            for start in range(0, count, rows):
                part = slice(start, min(start + rows, count))
                teacher = (
                    None
                    if ids is None or probabilities is None
                    else Teacher(
                        ids[part], probabilities[part], None if tail is None else tail[part]
                    )
                )
                chunks.add(part, labels[part], teacher)
        total = spec.clm_weight * chunks.clm + (1 - spec.clm_weight) * chunks.fusion
        ctx.save_for_backward(chunks.hidden_gradient, chunks.weight_gradient)
        ctx.dtypes = hidden.dtype, weight.dtype
        ctx.mark_non_differentiable(chunks.clm, chunks.fusion)
        return total, chunks.clm, chunks.fusion

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *unused: torch.Tensor) -> tuple[Any, ...]:
        result = [
            None if part is None else part.mul_(gradient.to(part.dtype)).to(dtype)
            for part, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*result, None, None, None, None, None)


class _Chunks:
    """Accumulates losses and gradients over chunks of rows."""

    def __init__(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        wide: torch.dtype,
        spec: _Spec,
        needed: tuple[bool, ...],
    ):
        self.hidden, self.weight, self.wide, self.spec = hidden, weight, wide, spec
        self.clm = torch.zeros((), dtype=wide, device=hidden.device)
        self.fusion = torch.zeros_like(self.clm)
        self.hidden_gradient = torch.zeros_like(hidden) if needed[0] else None
        self.weight_gradient = torch.zeros_like(weight, dtype=wide) if needed[1] else None

    def add(self, part: slice, labels: torch.Tensor, teacher: Teacher | None) -> None:
        hidden = self.hidden[part]
        logits = (hidden @ self.weight.t()).to(self.wide)
        slope = _soft_cap(logits, self.spec.softcap)
        gradient = self._losses(logits, labels, teacher)
        if slope is not None:
            gradient.mul_(slope)
        gradient = gradient.to(hidden.dtype)
        if self.hidden_gradient is not None:
            torch.mm(gradient, self.weight, out=self.hidden_gradient[part])
        if self.weight_gradient is not None:
            if gradient.dtype == self.wide:
                self.weight_gradient.addmm_(gradient.t(), hidden)
            else:
                self.weight_gradient += gradient.t() @ hidden

    def _losses(
        self, logits: torch.Tensor, labels: torch.Tensor, teacher: Teacher | None
    ) -> torch.Tensor:
        """Add the losses of the rows; overwrite `logits` with the gradient and return it."""
        clm_weight = self.spec.clm_weight
        labels = labels[:, None]
        shift = logits.amax(dim=1, keepdim=True)
        label_logits = logits.gather(1, labels)
        teacher_logits = None if teacher is None else logits.gather(1, teacher.ids)
        exponentials = logits.sub_(shift).exp_()
        total = exponentials.sum(dim=1, keepdim=True)
        normaliser = shift + total.log()
        self.clm += (normaliser - label_logits).sum()
        if teacher is None or teacher_logits is None:
            gradient = exponentials.mul_(clm_weight / total)
        else:
            gradient = self._fusion(exponentials, total, normaliser, teacher, teacher_logits)
        return gradient.scatter_add_(1, labels, torch.full_like(label_logits, -clm_weight))

    def _fusion(
        self,
        exponentials: torch.Tensor,
        total: torch.Tensor,
        normaliser: torch.Tensor,
        teacher: Teacher,
        teacher_logits: torch.Tensor,
    ) -> torch.Tensor:
        """Add the fusion loss; turn `exponentials` into the gradient but for the label's share."""
        clm_weight, fusion_weight = self.spec.clm_weight, 1 - self.spec.clm_weight
        probabilities = teacher.probabilities.to(self.wide)
        self.fusion += (probabilities * (normaliser - teacher_logits)).sum()
        mass = probabilities.sum(dim=1, keepdim=True)
        if teacher.tail is None:
            exponentials.mul_((clm_weight + fusion_weight * mass) / total)
            return exponentials.scatter_add_(1, teacher.ids, -fusion_weight * probabilities)
        tail = teacher.tail.to(self.wide)[:, None]
        taught = (mass + tail) > 0
        known = exponentials.gather(1, teacher.ids)
        rest = exponentials.scatter_(1, teacher.ids, 0).sum(dim=1, keepdim=True).clamp_min(TINY)
        self.fusion += (tail * (total.log() - rest.log())).sum()
        everywhere = (clm_weight + fusion_weight * taught) / total
        # Each id of the teacher gets its own value; ids outside share the tail's.
        named = known * everywhere - fusion_weight * probabilities
        best = probabilities.argmax(dim=1, keepdim=True)
        named = torch.where(probabilities > 0, named, named.gather(1, best))
        exponentials.mul_(everywhere - fusion_weight * tail / rest)
        return exponentials.scatter_(1, teacher.ids, named)


def _soft_cap(logits: torch.Tensor, cap: float | None) -> torch.Tensor | None:
    """Apply c * tanh(x / c) in place and return its derivative, or None without a cap."""
    if cap is None:
        return None
    logits.div_(cap).tanh_()
    slope = 1 - logits * logits
    logits.mul_(cap)
    return slope
