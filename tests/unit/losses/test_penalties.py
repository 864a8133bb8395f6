"""Penalties against closed forms and finite differences, and how the objective weighs them."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from ganline.draws import Draws
from ganline.losses.config import ObjectiveConfig
from ganline.losses.objective import Batch
from ganline.losses.penalties import between, gradient_penalty, path_lengths
from ganline.models.spec import Discriminator, Generator

DOUBLE = torch.float64


def draws(stream: str) -> Draws:
    return Draws(0, stream, 0, batch=6, device=torch.device("cpu"))


class LinearCritic(Discriminator):
    """D(x) = w.x with |w| = 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((4,), 0.5, dtype=DOUBLE))

    def forward(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return image.flatten(1) @ self.weight


class Styled(Generator):
    """G(w) = A w, with one w an image and w = z."""

    z_dim, num_classes = 4, 0

    def __init__(self, matrix: torch.Tensor):
        super().__init__()
        self.matrix = torch.nn.Parameter(matrix)

    def mapping(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return (z * 1.0)[:, None].requires_grad_()

    def synthesis(self, w: torch.Tensor) -> torch.Tensor:
        return (w[:, 0] @ self.matrix.T).view(len(w), 1, 2, 2)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return self.synthesis(self.mapping(z, label))


def test_the_gradient_penalty_of_a_linear_critic_is_its_distance_from_norm_one() -> None:
    w = torch.randn(3, 4, 4, dtype=DOUBLE)
    images = torch.randn(5, 3, 4, 4, dtype=DOUBLE, requires_grad=True)
    found = gradient_penalty((images * w).flatten(1).sum(1), images)
    assert found.tolist() == pytest.approx([(w.norm().item() - 1) ** 2] * 5, rel=1e-9)


def test_the_gradient_penalty_equals_finite_differences_in_value_and_in_the_weights() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    net = net.double()
    images = torch.randn(5, 1, 2, 2, dtype=DOUBLE, requires_grad=True)

    def penalty() -> torch.Tensor:
        return gradient_penalty(net(images).squeeze(1), images).mean()

    def by_differences() -> float:
        squares = torch.zeros(5, dtype=DOUBLE)
        for i in range(4):
            shift = torch.zeros(1, 1, 2, 2, dtype=DOUBLE)
            shift.view(-1)[i] = 1e-5
            squares += ((net(images + shift) - net(images - shift)) / 2e-5).squeeze(1).square().detach()
        return (squares.sqrt() - 1).square().mean().item()

    assert penalty().item() == pytest.approx(by_differences(), rel=1e-6)
    (slope,) = torch.autograd.grad(penalty(), net[1].bias)
    for i in range(6):
        values = []
        for step in (1e-5, -2e-5):
            net[1].bias.data[i] += step
            values.append(penalty().item())
        net[1].bias.data[i] += 1e-5
        assert slope[i].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_places_between_real_and_fake_lie_on_the_line() -> None:
    real, fake = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    mixed = between(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed[:, 0, 0, 0].tolist() == [0.0, 0.25, 1.0]
    assert mixed.is_leaf and mixed.requires_grad


def test_the_path_length_of_a_linear_generator_is_that_of_the_transposed_matrix_on_noise() -> None:
    torch.manual_seed(0)
    G = Styled(torch.randn(4, 4, dtype=DOUBLE))
    w = G.mapping(torch.randn(5, 4, dtype=DOUBLE), None)
    noise = torch.randn(5, 1, 2, 2, dtype=DOUBLE)
    found = path_lengths(G.synthesis(w), w, noise)
    expected = (noise.flatten(1) / math.sqrt(4) @ G.matrix).norm(dim=1)
    assert torch.allclose(found, expected)


def batch_at(step: int, **extra) -> Batch:
    torch.manual_seed(1)
    real, z = torch.randn(6, 1, 2, 2, dtype=DOUBLE), torch.randn(6, 4, dtype=DOUBLE)
    return Batch(step, real, None, z, draws, **extra)


def d_loss(step: int, options: dict, **extra) -> tuple[float, dict[str, float]]:
    G = Styled(torch.eye(4, dtype=DOUBLE))
    value, stats = ObjectiveConfig(**options).phases()[0].loss(G, LinearCritic(), batch_at(step, **extra))
    return value.item(), {name: stat.item() for name, stat in stats.items()}


@pytest.mark.parametrize("every", [1, 4])
def test_gp_is_weighed_by_lambda_and_by_its_interval(every) -> None:
    critic = {"adversarial": "wasserstein", "penalty_every": every}
    plain, _ = d_loss(0, critic | {"clip": 1.0})
    found, stats = d_loss(0, critic | {"gp_weight": 10.0})
    assert stats["gp"] == pytest.approx(0.0, abs=1e-9)  # |w| = 1
    assert found == pytest.approx(plain, abs=1e-6)


def test_gp_of_a_critic_twice_as_steep_is_one(monkeypatch) -> None:
    monkeypatch.setattr(LinearCritic, "forward", lambda self, image, label=None: 2 * (image.flatten(1) @ self.weight))
    critic = {"adversarial": "wasserstein", "penalty_every": 4}
    plain, _ = d_loss(0, critic | {"clip": 1.0})
    found, stats = d_loss(0, critic | {"gp_weight": 10.0})
    assert stats["gp"] == pytest.approx(1.0)
    assert found - plain == pytest.approx(10.0 * 4)
    assert "gp" not in d_loss(1, critic | {"gp_weight": 10.0})[1]


def test_drift_weighs_the_square_of_the_reals_logits() -> None:
    plain, _ = d_loss(0, {"adversarial": "hinge"})
    drifted, _ = d_loss(0, {"adversarial": "hinge", "drift": 0.5})
    expected = LinearCritic()(batch_at(0).real).square().mean().item()
    assert drifted - plain == pytest.approx(0.5 * expected)


def test_a_gamma_may_be_a_schedule_of_images_seen() -> None:
    gamma = {"start": 1.0, "end": 0.0, "shape": "linear"}
    options = {"adversarial": "relativistic", "penalty_every": 1}
    plain, _ = d_loss(0, options)
    for nimg, expected in ((0, 1.0), (50, 0.5), (75, 0.25)):
        found, _ = d_loss(0, options | {"r1_gamma": gamma}, nimg=nimg, total_nimg=100)
        assert found - plain == pytest.approx(expected / 2)  # |w|^2 = 1


def test_r1_alone_equals_r1_beside_r2() -> None:
    options = {"adversarial": "relativistic", "penalty_every": 1}
    alone, both = d_loss(0, options | {"r1_gamma": 0.3})[1], d_loss(0, options | {"r1_gamma": 0.3, "r2_gamma": 0.1})[1]
    assert alone["r1"] == pytest.approx(both["r1"])
    assert "r2" not in alone


def test_path_length_is_lazy_weighed_by_its_interval_and_follows_a_moving_mean() -> None:
    options = {"adversarial": "non_saturating", "path_length_weight": 2.0, "path_length_every": 4}
    G, D = Styled(2 * torch.eye(4, dtype=DOUBLE)), LinearCritic()
    d_phase, g_phase = ObjectiveConfig(**options).phases()
    plain_phase = ObjectiveConfig(adversarial="non_saturating").phases()[1]

    def g_loss(phase, step: int, memory: dict) -> tuple[float, dict]:
        batch = batch_at(step, memory=memory)
        d_phase.loss(G, D, batch)
        value, stats = phase.loss(G, D, batch)
        return value.item(), stats

    memory = {"path_length": torch.tensor(0.5, dtype=DOUBLE)}
    plain, _ = g_loss(plain_phase, 0, {})
    found, stats = g_loss(g_phase, 0, memory)
    noise = draws("path noise").every(2).normal(3, 1, 2, 2).double().flatten(1)
    lengths = 2 * noise.norm(dim=1) / 2
    mean = 0.5 + 0.01 * (lengths.mean().item() - 0.5)
    assert memory["path_length"].item() == pytest.approx(mean)
    assert stats["path_length"].item() == pytest.approx(lengths.mean().item())
    assert found - plain == pytest.approx(2.0 * 4 * (lengths - mean).square().mean().item())
    assert "path_length" not in g_loss(g_phase, 1, memory)[1]


def test_a_wasserstein_critic_without_a_bound_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValidationError, match=r"set gp_weight \(10\) or clip"):
        ObjectiveConfig(adversarial="wasserstein")
