"""Distillation losses against closed forms and against autograd."""

import pytest
import torch
from torch import Tensor

from nas.training.losses import _alpha_divergence, adaptive_alpha_divergence, kl_divergence


def logits(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))


def divergence(student: Tensor, target: Tensor, alpha: float, clip: float = 1e9) -> Tensor:
    """One order of the adaptive loss, as its own loss."""
    return adaptive_alpha_divergence(student, target, alpha, alpha, clip)


@pytest.mark.parametrize(("alpha", "reverse"), [(1.0, False), (0.999, False), (0.0, True), (0.001, True)])
def test_limits_are_the_two_kullback_leibler_divergences(alpha: float, reverse: bool) -> None:
    student, target = logits(0), logits(1)
    expected = kl_divergence(target, student) if reverse else kl_divergence(student, target)
    exact = alpha in (0.0, 1.0)
    torch.testing.assert_close(divergence(student, target, alpha), expected, rtol=1e-5 if exact else 5e-3, atol=1e-6)


def test_order_minus_one_is_half_the_chi_square_divergence() -> None:
    student, target = logits(0), logits(1)
    p, q = target.softmax(1), student.softmax(1)
    torch.testing.assert_close(divergence(student, target, -1.0), ((q - p).square() / p).sum(1).mean() / 2)


@pytest.mark.parametrize("alpha", [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
def test_gradient_is_that_of_the_divergence(alpha: float) -> None:
    student, target = logits(0).requires_grad_(), logits(1)
    (ours,) = torch.autograd.grad(divergence(student, target, alpha), student)
    p, q = target.softmax(1), student.softmax(1)
    if alpha == 1:
        plain = (p * (p / q).log()).sum(1)
    elif alpha == 0:
        plain = (q * (q / p).log()).sum(1)
    else:
        plain = (q * ((p / q) ** alpha - 1)).sum(1) / (alpha * (alpha - 1))
    (expected,) = torch.autograd.grad(plain.mean(), student)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_each_image_takes_the_larger_order() -> None:
    student, target = logits(0, 2.0), logits(1, 2.0)
    log_p, log_q = target.log_softmax(1), student.log_softmax(1)
    low, _ = _alpha_divergence(log_p, log_q, -1.0, 5.0)
    high, _ = _alpha_divergence(log_p, log_q, 1.0, 5.0)
    assert (low > high).any()
    assert (low < high).any()
    torch.testing.assert_close(adaptive_alpha_divergence(student, target), torch.maximum(low, high).mean())


def test_ratios_are_clipped_in_value_and_gradient() -> None:
    # One class: p = 0.001, q = 0.5, so the ratio to the power of -1 is 500.
    target, student = torch.tensor([[0.001, 0.999]]).log(), torch.tensor([[0.5, 0.5]]).log()
    other = 0.5 * (0.5 / 0.999 - 1)
    assert divergence(student, target, -1.0, 5.0).item() == pytest.approx((0.5 * 4 + other) / 2, rel=1e-4)
    _, slope = _alpha_divergence(target, student, -1.0, 5.0)
    assert slope[0, 0].item() == pytest.approx(0.5 * 5, rel=1e-4)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_finite_logits_give_a_finite_loss_and_gradient(scale: float) -> None:
    student, target = logits(0, scale).requires_grad_(), logits(1, scale)
    loss = adaptive_alpha_divergence(student, target)
    loss.backward()
    assert student.grad is not None
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_logits_that_are_not_finite_still_show() -> None:
    student = logits(0)
    student[0, 0] = float("nan")
    assert adaptive_alpha_divergence(student, logits(1)).isnan()


def test_equal_outputs_cost_nothing_and_the_target_gets_no_gradient() -> None:
    student, target = logits(0).requires_grad_(), logits(0).requires_grad_()
    loss = adaptive_alpha_divergence(student, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert target.grad is None
