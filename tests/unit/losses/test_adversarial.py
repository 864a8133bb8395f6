"""Losses at known logits, against the closed forms of the literature."""

from __future__ import annotations

import math

import pytest
import torch

from ganline.draws import Draws
from ganline.losses.adversarial import ADVERSARIAL
from ganline.losses.config import WITHOUT_LEVEL, ObjectiveConfig
from ganline.losses.objective import Batch
from ganline.losses.penalties import squared_gradient_norms
from ganline.models.spec import Discriminator, Generator
from tests.unit.variants import OBJECTIVES, TRAININGS

ONES = torch.ones(4, dtype=torch.float64)
E = math.e
EXPECTED = {
    # name: (D at real = fake = 1, G at real = fake = 1)
    "non_saturating": (math.log(1 + 1 / E) + math.log(1 + E), math.log(1 + 1 / E)),
    "minimax": (math.log(1 + 1 / E) + math.log(1 + E), -math.log(1 + E)),
    "least_squares": (0.5, 0.0),
    "wasserstein": (0.0, -1.0),
    "hinge": (2.0, -1.0),
    "relativistic": (math.log(2), math.log(2)),
}


def test_every_loss_has_an_expected_value() -> None:
    assert EXPECTED.keys() == ADVERSARIAL.keys()


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_loss_is_allowed_in_the_configuration(name: str) -> None:
    assert ObjectiveConfig.model_validate({"adversarial": name, "clip": 0.01}).adversarial == name


def test_the_configuration_knows_which_losses_have_no_level() -> None:
    assert set(WITHOUT_LEVEL) == {name for name, loss in ADVERSARIAL.items() if not loss.has_level}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_loss_is_trained_by_the_shared_tests(name: str) -> None:
    trained = {OBJECTIVES[objective]["adversarial"] for _, objective, *_ in TRAININGS.values()}
    assert name in trained, "add a row to OBJECTIVES and one to TRAININGS in tests/unit/variants.py"


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_at_unit_logits_have_their_closed_form(name: str) -> None:
    loss = ADVERSARIAL[name]
    found = (loss.d_loss(ONES, ONES).item(), loss.g_loss(ONES, ONES).item())
    assert found == pytest.approx(EXPECTED[name], abs=1e-12)


@pytest.mark.parametrize("name", EXPECTED)
def test_d_gains_by_separating_and_g_by_being_taken_for_real(name: str) -> None:
    loss = ADVERSARIAL[name]
    assert loss.d_loss(ONES, 0 * ONES) < loss.d_loss(ONES, ONES)
    assert loss.g_loss(ONES, ONES) < loss.g_loss(ONES, 0 * ONES)


def test_bce_on_logits_is_the_classic_formulation_with_a_sigmoid() -> None:
    real, fake = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    classic = torch.nn.functional.binary_cross_entropy
    expected = classic(real.sigmoid(), torch.ones_like(real)) + classic(fake.sigmoid(), torch.zeros_like(fake))
    assert ADVERSARIAL["non_saturating"].d_loss(real, fake).item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_penalty_of_a_linear_critic_is_its_squared_weight() -> None:
    w = torch.randn(3, 5, 5, dtype=torch.float64)
    images = torch.randn(7, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    penalty = squared_gradient_norms((images * w).flatten(1).sum(1), images)
    assert penalty.tolist() == pytest.approx([w.square().sum().item()] * 7, rel=1e-12)


def test_the_penalty_equals_finite_differences() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)
    ).double()
    images = torch.randn(5, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    found = squared_gradient_norms(net(images).squeeze(1), images).mean().item()
    step, total = 1e-5, 0.0
    for i in range(4):
        shift = torch.zeros(4, dtype=torch.float64)
        shift[i] = step
        shift = shift.view(1, 1, 2, 2)
        total += ((net(images + shift) - net(images - shift)) / (2 * step)).square().mean().item()
    assert found == pytest.approx(total, rel=1e-5)


def draws(stream: str) -> Draws:
    return Draws(0, stream, 0, batch=6, device=torch.device("cpu"))


class LinearCritic(Discriminator):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((4,), 0.5))

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return image.flatten(1) @ self.weight


class Echo(Generator):
    z_dim = 4

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return z.view(-1, 1, 2, 2)


def d_loss_at(step: int, **options) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    batch = Batch(step, torch.randn(6, 1, 2, 2), None, torch.randn(6, 4), draws)
    return ObjectiveConfig(adversarial="relativistic", **options).phases()[0].loss(Echo(), LinearCritic(), batch)


def test_a_lazy_penalty_comes_every_so_often_and_weighs_as_much_as_an_eager_one() -> None:
    plain, _ = d_loss_at(0)
    for every in (1, 8):
        gammas = {"r1_gamma": 0.3, "r2_gamma": 0.1, "penalty_every": every}
        value, stats = d_loss_at(0, **gammas)
        # |w|^2 = 1 on both sides: (0.3 / 2 + 0.1 / 2) * every
        assert (value - plain).item() == pytest.approx(0.2 * every, rel=1e-5)
        assert (stats["r1"].item(), stats["r2"].item()) == pytest.approx((1.0, 1.0))
    off, stats = d_loss_at(3, **gammas)
    assert off.item() == pytest.approx(plain.item())
    assert "r1" not in stats


def test_g_learns_through_the_fakes_that_d_saw() -> None:
    G, D = Echo(), LinearCritic()
    z = torch.randn(6, 4, requires_grad=True)
    batch = Batch(0, torch.randn(6, 1, 2, 2), None, z, draws)
    d_phase, g_phase = ObjectiveConfig(adversarial="relativistic", r1_gamma=0.1).phases()
    d_phase.loss(G, D, batch)[0].backward()
    assert z.grad is None
    assert D.weight.grad is not None
    painted = batch.fake
    g_phase.loss(G, D, batch)[0].backward()
    assert batch.fake is painted
    assert z.grad is not None and z.grad.abs().sum() > 0


def test_n_critic_repeats_d() -> None:
    assert [phase.repeat for phase in ObjectiveConfig(n_critic=5).phases()] == [5, 1]


@pytest.mark.parametrize(("name", "share"), [("hinge", 0.375), ("relativistic", 0.75), ("wasserstein", 0.75)])
def test_accuracy_is_read_from_signs_or_where_logits_have_no_level_from_pairs(name, share) -> None:
    real, fake = torch.tensor([2.0, 3.0, 4.0, -2.0]), torch.tensor([1.0, 2.0, 3.0, 3.0])
    assert ADVERSARIAL[name].accuracy(real, fake).item() == share
