"""Losses at known logits, against the closed forms of the literature."""

from __future__ import annotations

import math

import pytest
import torch

from ganline.losses.adversarial import ADVERSARIAL
from ganline.losses.objective import Batch, ObjectiveConfig
from ganline.losses.penalties import squared_gradient_norm

ONES = torch.ones(4, dtype=torch.float64)
E = math.e
EXPECTED = {
    # name: (D at real = fake = 1, G at real = fake = 1)
    "non_saturating": (math.log(1 + 1 / E) + math.log(1 + E), math.log(1 + 1 / E)),
    "hinge": (2.0, -1.0),
    "relativistic": (math.log(2), math.log(2)),
}


def test_every_loss_has_an_expected_value() -> None:
    assert EXPECTED.keys() == ADVERSARIAL.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_at_unit_logits_have_their_closed_form(name: str) -> None:
    loss = ADVERSARIAL[name]
    found = (loss.d_loss(ONES, ONES).item(), loss.g_loss(ONES, ONES).item())
    assert found == pytest.approx(EXPECTED[name], abs=1e-12)


@pytest.mark.parametrize("name", EXPECTED)
def test_d_gains_by_separating_and_g_by_being_taken_for_real(name: str) -> None:
    loss = ADVERSARIAL[name]
    assert loss.d_loss(ONES, -ONES) < loss.d_loss(ONES, ONES)
    assert loss.g_loss(ONES, 2 * ONES) < loss.g_loss(ONES, ONES)


def test_bce_on_logits_is_the_classic_formulation_with_a_sigmoid() -> None:
    real, fake = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    classic = torch.nn.functional.binary_cross_entropy
    expected = classic(real.sigmoid(), torch.ones_like(real)) + classic(fake.sigmoid(), torch.zeros_like(fake))
    assert ADVERSARIAL["non_saturating"].d_loss(real, fake).item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_penalty_of_a_linear_critic_is_its_squared_weight() -> None:
    w = torch.randn(3, 5, 5, dtype=torch.float64)
    images = torch.randn(7, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    penalty = squared_gradient_norm((images * w).flatten(1).sum(1), images)
    # The gradient norm is taken in float32, as in training.
    assert penalty.item() == pytest.approx(w.square().sum().item(), rel=1e-6)


def test_the_penalty_equals_finite_differences() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)).double()
    images = torch.randn(5, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    found = squared_gradient_norm(net(images).squeeze(1), images).item()
    step, total = 1e-5, 0.0
    for i in range(4):
        shift = torch.zeros(4, dtype=torch.float64)
        shift[i] = step
        shift = shift.view(1, 1, 2, 2)
        total += ((net(images + shift) - net(images - shift)) / (2 * step)).square().mean().item()
    assert found == pytest.approx(total, rel=1e-5)


class LinearCritic(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((4,), 0.5))

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return image.flatten(1) @ self.weight


class Echo(torch.nn.Module):
    z_dim = 4

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return z.view(-1, 1, 2, 2)


def test_a_lazy_penalty_weighs_as_much_as_an_eager_one() -> None:
    batch = Batch(torch.randn(6, 1, 2, 2), None, torch.randn(6, 4))
    for every in (1, 8):
        config = ObjectiveConfig(adversarial="relativistic", r1_gamma=0.3, r2_gamma=0.1, penalty_every=every)
        phases = {phase.name: phase for phase in config.phases()}
        assert phases["D_reg"].every == every
        value, stats = phases["D_reg"].loss(Echo(), LinearCritic(), batch, 0)
        # |w|^2 = 1 on both sides: (0.3 / 2 + 0.1 / 2) * every
        assert value.item() == pytest.approx(0.2 * every, rel=1e-6)
        assert stats.keys() == {"r1", "r2"}


def test_without_gamma_there_is_no_penalty_phase() -> None:
    assert [phase.name for phase in ObjectiveConfig().phases()] == ["D", "G"]


def test_n_critic_repeats_d() -> None:
    assert [phase.repeat for phase in ObjectiveConfig(n_critic=5).phases()] == [5, 1]
