"""The chunked loss against a dense float64 formula, in value and gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.training.losses import chunk_rows, head_loss, teacher_from_logprobs


def dense(
    hidden, weight, labels, top_ids, top_logprobs, *, clm_weight, kind, temperature, tail, cap
):
    """The definition, written with whole distributions: (total, clm, fusion), sums."""
    logits = hidden @ weight.T
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    log_q = torch.log_softmax(logits, dim=1)
    clm = -log_q[torch.arange(len(labels)), labels].sum()
    fusion = torch.zeros((), dtype=hidden.dtype)
    for row, ids, logs in zip(log_q, top_ids, top_logprobs.to(hidden.dtype), strict=True):
        used = torch.isfinite(logs)
        if not used.any():
            continue
        outside = torch.ones(len(row), dtype=bool)
        outside[ids[used].long()] = False
        log_p, log_student = logs[used], row[ids[used].long()]
        if tail:
            log_p = torch.cat([log_p, torch.log((1 - log_p.exp().sum()).clamp_min(0))[None]])
            log_student = torch.cat([log_student, torch.logsumexp(row[outside], 0)[None]])
        p = torch.softmax(log_p / temperature, dim=0)
        fusion = fusion - (p * log_student.where(p > 0, 0)).sum()
        if kind == "kl":
            fusion = fusion + torch.xlogy(p, p).sum()
    return clm_weight * clm + (1 - clm_weight) * fusion, clm, fusion


def random_case(seed, count=7, width=5, vocabulary=23, k=4, holes=True):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(vocabulary, (count,), generator=generator)
    top_ids = torch.stack(
        [torch.randperm(vocabulary, generator=generator)[:k] for _ in range(count)]
    ).int()
    full = torch.randn(count, vocabulary, generator=generator) * 3
    logs = torch.log_softmax(full, dim=1).gather(1, top_ids.long()).half()
    if holes:
        logs[torch.rand(count, k, generator=generator) < 0.3] = -torch.inf
        top_ids[torch.isinf(logs)] = top_ids[0, 0]
    return hidden, weight, labels, top_ids, logs


def ours(hidden, weight, labels, top_ids, logs, *, clm_weight, kind, temperature, tail, cap, rows):
    teacher = teacher_from_logprobs(
        top_ids, logs, temperature=temperature, tail=tail, dtype=hidden.dtype
    )
    return head_loss(
        hidden, weight, labels, teacher, clm_weight=clm_weight, kind=kind, softcap=cap, rows=rows
    )


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.none() | st.integers(1, 8),
    k=st.sampled_from([1, 4, 22]),
    clm_weight=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    kind=st.sampled_from(["ce", "kl"]),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    tail=st.booleans(),
    cap=st.sampled_from([None, 3.0]),
)
def test_equals_the_dense_formula_in_value_and_gradient(seed, rows, k, **options):
    """For 7 rows and every chunk size, of 23 tokens up to all but one."""
    case = random_case(seed, k=k)
    results = []
    for function in (dense, lambda *a, **o: ours(*a, rows=rows, **o)):
        hidden, weight = (tensor.clone().requires_grad_() for tensor in case[:2])
        parts = function(hidden, weight, *case[2:], **options)
        total, clm, fusion = (
            parts if isinstance(parts, tuple) else (parts.total, parts.clm, parts.fusion)
        )
        (total * 0.37).backward()
        results.append((total.detach(), clm.detach(), fusion.detach(), hidden.grad, weight.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_without_teacher_it_is_plain_cross_entropy():
    hidden, weight, labels, *_ = random_case(3)
    parts = head_loss(hidden, weight, labels, None, clm_weight=0.9)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    torch.testing.assert_close(parts.total, expected)
    assert parts.fusion == 0


@pytest.mark.parametrize("tail", [False, True])
def test_no_response_token_gives_zero_loss_and_zero_gradient(tail):
    hidden, weight, labels, ids, logs = (tensor[:0] for tensor in random_case(1))
    weight = torch.randn(23, 5, requires_grad=True)
    hidden = hidden.float().requires_grad_()
    teacher = teacher_from_logprobs(ids, logs, tail=tail)
    parts = head_loss(hidden, weight, labels, teacher, clm_weight=0.9, kind="kl")
    parts.total.backward()
    assert parts.total == 0
    assert weight.grad.abs().max() == 0


def test_untaught_rows_leave_only_the_language_model_loss():
    hidden, weight, labels, ids, logs = random_case(5)
    silent = torch.full_like(logs, -torch.inf)
    for tail in (False, True):
        teacher = teacher_from_logprobs(ids, silent, tail=tail, dtype=torch.float64)
        weight_copy = weight.clone().requires_grad_()
        parts = head_loss(hidden, weight_copy, labels, teacher, clm_weight=0.9)
        parts.total.backward()
        plain = weight.clone().requires_grad_()
        (
            0.9 * torch.nn.functional.cross_entropy(hidden @ plain.T, labels, reduction="sum")
        ).backward()
        assert parts.fusion == 0
        torch.testing.assert_close(weight_copy.grad, plain.grad)


def test_a_confident_student_keeps_a_finite_tail():
    hidden = torch.full((1, 1), 200.0, requires_grad=True)
    weight = torch.tensor([[1.0], [0.0], [0.0]])
    teacher = teacher_from_logprobs(torch.tensor([[0]]), torch.tensor([[-0.5]]), tail=True)
    parts = head_loss(hidden, weight, torch.tensor([0]), teacher, clm_weight=0.5)
    parts.total.backward()
    assert torch.isfinite(parts.total)
    assert torch.isfinite(hidden.grad).all()


def test_float32_agrees_with_float64():
    case = random_case(11, count=50, width=64, vocabulary=500, k=10)
    options = {"clm_weight": 0.9, "kind": "ce", "temperature": 1.0, "tail": False, "cap": None}
    narrow = ours(case[0].float(), case[1].float(), *case[2:], rows=16, **options)
    wide = ours(*case, rows=None, **options)
    assert narrow.total.item() == pytest.approx(wide.total.item(), rel=1e-5)


def test_bfloat16_products_keep_float32_losses_and_gradients():
    case = random_case(12, count=40, width=32, vocabulary=100, k=10)
    hidden, weight = case[0].float(), case[1].float().div(4).requires_grad_()
    teacher = teacher_from_logprobs(*case[3:])
    with torch.autocast("cpu", torch.bfloat16):
        parts = head_loss(hidden, weight, case[2], teacher, clm_weight=0.9, rows=16)
    parts.total.backward()
    assert parts.total.dtype == weight.grad.dtype == torch.float32
    exact = head_loss(hidden, weight, case[2], teacher, clm_weight=0.9)
    assert parts.total.item() == pytest.approx(exact.total.item(), rel=1e-2)


def test_chunks_bound_memory_for_large_vocabularies():
    cpu = torch.device("cpu")
    assert chunk_rows(152_000, cpu) * 152_000 * 4 <= 2**26 + 152_000 * 32 * 4
    assert chunk_rows(32_000, cpu) > chunk_rows(152_000, cpu) >= 32


def test_the_teachers_mass_is_one_with_and_without_tail():
    *_, ids, logs = random_case(9, holes=False)
    for temperature in (0.7, 1.0, 3.0):
        plain = teacher_from_logprobs(ids, logs, temperature=temperature)
        torch.testing.assert_close(plain.probabilities.sum(1), torch.ones(len(ids)))
        bucket = teacher_from_logprobs(ids, logs, temperature=temperature, tail=True)
        torch.testing.assert_close(bucket.probabilities.sum(1) + bucket.tail, torch.ones(len(ids)))


def test_what_a_transfer_does_not_know_is_one_more_entry():
    ids = torch.tensor([[4, 7], [2, 5], [1, 3]])
    logs = torch.log(torch.tensor([[0.6, 0.2], [0.3, 0.1], [0.5, 0.25]]))
    known = torch.tensor([1.0, 0.4, 0.75])
    paper = teacher_from_logprobs(ids, logs)
    teacher = teacher_from_logprobs(ids, logs, known=known)
    torch.testing.assert_close(teacher.probabilities[0], paper.probabilities[0])
    torch.testing.assert_close(teacher.probabilities[1], torch.tensor([0.3, 0.1]))
    torch.testing.assert_close(teacher.probabilities[2], torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(teacher.tail, torch.tensor([0.0, 0.6, 0.25]))
    everything = teacher_from_logprobs(ids, logs, known=torch.ones(3))
    torch.testing.assert_close(everything.probabilities, paper.probabilities)
    assert (everything.tail == 0).all()


def test_known_rows_have_the_papers_loss_beside_rows_that_are_not():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    labels = torch.tensor([1, 2, 3, 4])
    ids = torch.tensor([[1, 2, 3]] * 4)
    logs = torch.log_softmax(torch.randn(4, 5, generator=generator), 1)[:, :3]
    options = {"clm_weight": 0.3}
    paper = head_loss(hidden, weight, labels, teacher_from_logprobs(ids, logs), **options)
    teacher = teacher_from_logprobs(ids, logs, known=torch.ones(4))
    found = head_loss(hidden, weight, labels, teacher, **options)
    torch.testing.assert_close(found.total, paper.total)
