"""The augmentation pipe: exact at known draws, as frequent as p says, differentiable twice, the same on any ranks."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import pad

from ganline import ranks
from ganline.augment import NUM_AMOUNTS, adapt, augment, colour, hole_centre, inside, move, selection, share_of, shift
from ganline.devices import full_precision
from ganline.draws import Draws
from ganline.losses.config import OPERATIONS, AdaConfig, AugmentConfig
from ganline.losses.penalties import squared_gradient_norms

CPU = torch.device("cpu")
BOTH_KINDS = pytest.mark.parametrize("channels", [1, 3])
# Each operation alone, and all together.
SUBSETS = [*[(name,) for name in OPERATIONS], OPERATIONS]


def draws(batch: int, index: int = 0) -> Draws:
    return Draws(0, "augment", index, batch=batch, device=CPU)


def pictures(n: int = 16, channels: int = 3, height: int = 12, width: int = 8, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(n, channels, height, width, generator=generator, dtype=torch.float64).mul(2).sub(1).to(**options)


def run(images: torch.Tensor, p: float, *operations, index: int = 0, **options) -> torch.Tensor:
    config = AugmentConfig(operations=operations or OPERATIONS, **options)
    return augment(images, config=config, p=torch.tensor(p), draws=draws(len(images), index))


class Known:
    """Draws whose numbers are given: the coins of flip, translation, colour, cutout, then the eight amounts."""

    def __init__(self, *numbers: float):
        assert len(numbers) == len(OPERATIONS) + NUM_AMOUNTS
        self.numbers = numbers

    def uniform(self, n: int, *shape: int) -> torch.Tensor:
        return torch.tensor(self.numbers).expand(n, *shape)


def known(images: torch.Tensor, *numbers: float, p: float = 0.5) -> torch.Tensor:
    return augment(images, config=AugmentConfig(), p=torch.tensor(p), draws=Known(*numbers))  # type: ignore[arg-type]


@BOTH_KINDS
def test_p_0_gives_back_exactly_the_same_images(channels) -> None:
    images = pictures(channels=channels, dtype=torch.float32)
    same = run(images, 0.0)
    assert torch.equal(same.view(torch.int32), images.view(torch.int32))


@BOTH_KINDS
@pytest.mark.parametrize("operations", SUBSETS, ids="+".join)
def test_p_1_reaches_every_sample(channels, operations) -> None:
    images = pictures(512, channels)
    touched = (run(images, 1.0, *operations) != images).flatten(1).any(1).double().mean().item()
    # A flip turns half; a shift by one pixel up to one stays in place in 1 of 5 * 3 cases; the others always show.
    expected = {("flip",): 1 / 2, ("translation",): 14 / 15}.get(operations, 1.0)
    assert touched == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 512))


@pytest.mark.parametrize("operations", SUBSETS[:-1], ids="+".join)
def test_p_is_how_often_an_operation_happens(operations) -> None:
    n = 4096
    images = pictures(n, height=16, width=16)
    config = AugmentConfig(operations=operations, translation=0.5)
    found = augment(images, config=config, p=torch.tensor(0.3), draws=draws(n))
    touched = (found != images).flatten(1).any(1).double().mean().item()
    seen = {("flip",): 1 / 2, ("translation",): 1 - 1 / 17**2}.get(operations, 1.0)
    expected = 0.3 * seen
    assert touched == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / n))


def test_operations_happen_independently_of_one_another() -> None:
    n = 8192
    images = torch.ones(n, 1, 8, 8, dtype=torch.float64)
    brighter = run(images, 0.3, "colour", saturation=0.0, contrast=0.0)[:, 0, 0, 0] != 1
    holed = (run(images, 0.3, "cutout") == 0).flatten(1).any(1)
    both = (brighter & holed).double().mean().item()
    assert both == pytest.approx(0.09, abs=4 * math.sqrt(0.09 * 0.91 / n))


def test_leaving_an_operation_out_does_not_change_the_others() -> None:
    images = pictures()
    apart = run(run(run(images, 0.7, "colour"), 0.7, "flip", "translation"), 0.7, "cutout")
    assert torch.equal(apart, run(images, 0.7))


def test_known_draws_give_the_known_image() -> None:
    images = pictures(channels=3, height=16, width=16, dtype=torch.float32)
    amounts = (0.1, 0.75, 0.25, 0.75, 0.99, 0.0, 0.0, 0.5)
    assert torch.equal(known(images, *[0.5] * 4, *amounts), images)  # u < p, not u <= p
    assert torch.equal(known(images, 0.4, 0.9, 0.9, 0.9, *amounts), images.flip(3))
    # A coin that falls on flip, but on the side that is no flip.
    assert torch.equal(known(images, 0.4, 0.9, 0.9, 0.9, 0.6, *amounts[1:]), images)
    moved = known(images, 0.9, 0.4, 0.9, 0.9, *amounts)  # 2 = 16 / 8 pixels down, 2 to the left
    assert torch.equal(moved, pad(images[:, :, :-2, 2:], (0, 2, 2, 0)))
    coloured = known(images, 0.9, 0.9, 0.4, 0.9, *amounts)
    assert torch.allclose(coloured, diffaugment_colour(images, 0.25, 0.5, 1.25), atol=1e-6)
    holed = known(images, 0.9, 0.9, 0.9, 0.4, *amounts)  # 8 pixels square around row 0, column 8
    expected = images.clone()
    expected[:, :, :4, 4:12] = 0
    assert torch.equal(holed, expected)


def diffaugment_colour(images: torch.Tensor, brightness: float, saturation: float, contrast: float) -> torch.Tensor:
    """The three steps as the paper's authors take them, one after the other."""
    x = images + brightness
    x = (x - x.mean(1, keepdim=True)) * saturation + x.mean(1, keepdim=True)
    return (x - x.mean((1, 2, 3), keepdim=True)) * contrast + x.mean((1, 2, 3), keepdim=True)


@BOTH_KINDS
def test_colour_is_brightness_then_saturation_then_contrast(channels) -> None:
    images = pictures(3, channels)
    values = [(0.3, 1.7, 0.6), (-0.5, 0.0, 1.5), (0.0, 1.0, 1.0)]
    b, s, c = (torch.tensor(column, dtype=torch.float64) for column in zip(*values, strict=True))
    found = colour(images, brightness=b, saturation=s, contrast=c)
    for i, value in enumerate(values):
        assert torch.allclose(found[i], diffaugment_colour(images[i : i + 1], *value)[0], atol=1e-14)
    assert torch.equal(found[2], images[2])


def test_each_colour_amount_keeps_what_it_should() -> None:
    images = pictures(4)
    zero, one, half = (torch.full((4,), value, dtype=torch.float64) for value in (0.0, 1.0, 0.5))
    contrast = colour(images, brightness=zero, saturation=one, contrast=half)
    assert torch.allclose(contrast.mean((1, 2, 3)), images.mean((1, 2, 3)))
    assert torch.allclose(contrast.std((1, 2, 3)), images.std((1, 2, 3)) / 2)
    grey = colour(images, brightness=zero, saturation=zero, contrast=one)
    assert torch.allclose(grey, images.mean(1, keepdim=True).expand_as(images))
    brighter = colour(images, brightness=half, saturation=one, contrast=one)
    assert torch.allclose(brighter, images + 0.5)


def test_default_strengths_are_those_of_diffaugment() -> None:
    n = 4096
    flat = run(torch.zeros(n, 1, 1, 1), 1.0, "colour").flatten()
    assert flat.min() == pytest.approx(-0.5, abs=5e-3) and flat.max() == pytest.approx(0.5, abs=5e-3)
    edge = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).expand(n, 1, 1, 2)
    contrast = run(edge, 1.0, "colour").diff(dim=3).flatten() / -2
    assert contrast.min() == pytest.approx(0.5, abs=5e-3) and contrast.max() == pytest.approx(1.5, abs=5e-3)
    red = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(n, 2, 1, 1)
    saturation = run(red, 1.0, "colour", contrast=0.0).diff(dim=1).flatten() / -2
    assert saturation.min() == pytest.approx(0.0, abs=5e-3) and saturation.max() == pytest.approx(2.0, abs=5e-3)


def test_a_flip_is_exact_and_only_where_asked() -> None:
    images = pictures(4, dtype=torch.float32)
    flipped = torch.tensor([1.0, 0.0, 1.0, 0.0])
    found = move(images, flipped=flipped, down=torch.zeros(4), right=torch.zeros(4))
    assert torch.equal(found, torch.where(flipped.view(-1, 1, 1, 1) > 0, images.flip(3), images))


def test_a_translation_is_a_roll_with_zero_fill() -> None:
    images = pictures(dtype=torch.float32)
    down = torch.randint(-3, 4, (16,), generator=torch.Generator().manual_seed(0)).float()
    right = down.roll(5)
    flipped = (torch.arange(16) % 2).float()
    found = move(images, flipped=flipped, down=down, right=right)
    for i, (dy, dx) in enumerate(zip(down.int().tolist(), right.int().tolist(), strict=True)):
        expected = (images[i].flip(2) if flipped[i] else images[i]).roll((dy, dx), (1, 2))
        expected[:, : max(dy, 0)] = 0
        expected[:, 12 + min(dy, 0) :] = 0
        expected[:, :, : max(dx, 0)] = 0
        expected[:, :, 8 + min(dx, 0) :] = 0
        assert torch.equal(found[i], expected)


def test_a_shift_beyond_the_image_leaves_nothing() -> None:
    assert not selection(5, shift=torch.tensor([5.0, -7.0]), flipped=torch.tensor([0.0, 1.0])).any()


def test_shifts_and_centres_are_uniform_over_their_whole_numbers() -> None:
    u = (torch.arange(90) + 0.5) / 90
    assert shift(u, most=4).unique(return_counts=True)[0].tolist() == list(range(-4, 5))
    assert shift(u, most=4).unique(return_counts=True)[1].tolist() == [10] * 9
    assert hole_centre(u, side=8, size=4).unique(return_counts=True)[1].tolist() == [10] * 9
    assert hole_centre(u, side=9, size=5).unique(return_counts=True)[1].tolist() == [10] * 9
    nearly_1 = torch.tensor([1 - 2**-24])
    for most in range(1, 200):
        assert shift(nearly_1, most=most) <= most


def test_shares_round_to_the_nearest_pixel() -> None:
    assert [share_of(side, 0.125) for side in (28, 32, 64)] == [4, 4, 8]
    assert [share_of(side, 0.5) for side in (28, 7)] == [14, 4]


def test_a_hole_has_its_size_inside_and_is_cut_off_at_borders() -> None:
    rows, columns = torch.tensor([6.0, 0.0, 12.0, 11.0]), torch.tensor([4.0, 0.0, 8.0, 4.0])
    holes = inside(pictures(4), centre=(rows, columns), size=(6, 4))
    assert holes.shape == (4, 1, 12, 8)
    expected = torch.zeros(4, 1, 12, 8, dtype=torch.float64)
    expected[0, :, 3:9, 2:6] = 1
    expected[1, :, :3, :2] = 1
    expected[2, :, 9:, 6:] = 1
    expected[3, :, 8:, 2:6] = 1
    assert torch.equal(holes, expected)


def test_an_odd_hole_is_centred_on_its_pixel() -> None:
    hole = inside(pictures(1), centre=(torch.tensor([5.0]), torch.tensor([3.0])), size=(3, 1))
    assert hole.nonzero()[:, 2:].tolist() == [[4, 3], [5, 3], [6, 3]]


def test_rows_draw_for_themselves() -> None:
    images = pictures(1).expand(32, -1, -1, -1)
    found = run(images, 1.0)
    assert len({tuple(row.flatten().tolist()) for row in found}) == 32
    assert not torch.equal(found, run(images, 1.0, index=1))
    assert torch.equal(found, run(images, 1.0))


@pytest.mark.parametrize("groups", [1, 2], ids=["reals", "reals then fakes"])
def test_ranks_share_the_rows_of_one_process(monkeypatch, groups) -> None:
    images = pictures(8 * groups)
    config = AugmentConfig()
    whole = augment(images, config=config, p=torch.tensor(0.6), draws=draws(8))
    parts = []
    monkeypatch.setattr(ranks, "size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        mine = images.view(groups, 8, *images.shape[1:])[:, rank * 4 : rank * 4 + 4].flatten(0, 1)
        found = augment(mine, config=config, p=torch.tensor(0.6), draws=draws(8))
        parts.append(found.view(groups, 4, *images.shape[1:]))
    assert torch.equal(torch.cat(parts, dim=1).flatten(0, 1), whole)


@BOTH_KINDS
@pytest.mark.parametrize("operations", SUBSETS, ids="+".join)
def test_first_and_second_derivatives_equal_finite_differences(channels, operations) -> None:
    images = pictures(4, channels, height=4, width=3).requires_grad_()

    def pipe(x: torch.Tensor) -> torch.Tensor:
        return run(x, 0.8, *operations, translation=0.4).sin()

    assert torch.autograd.gradcheck(pipe, images)
    assert torch.autograd.gradgradcheck(pipe, images)


def test_r1_of_a_linear_critic_through_a_move_is_what_stays_inside() -> None:
    w = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    images = pictures(2, 3, 4, 4).requires_grad_()
    seen = move(images, flipped=torch.tensor([1.0, 0.0]), down=torch.tensor([1.0, 0.0]), right=torch.zeros(2))
    norms = squared_gradient_norms((seen * w).flatten(1).sum(1), images)
    assert norms.tolist() == pytest.approx([w[:, :, 1:].square().sum().item(), w.square().sum().item()])
    (by_w,) = torch.autograd.grad(norms[0], w)
    expected = 2 * w.detach()
    expected[:, :, 0] = 0
    assert torch.allclose(by_w, expected)


def test_bf16_autocast_changes_neither_values_nor_gradients() -> None:
    images = pictures(dtype=torch.float32).requires_grad_()
    w = torch.randn_like(images)
    found = []
    for cast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
            seen = run(images, 0.8)
            with full_precision(seen):  # as penalties take theirs
                (gradient,) = torch.autograd.grad((seen * w).sum(), images, create_graph=True)
        assert seen.dtype == gradient.dtype == torch.float32
        found.append((seen, gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_half_precision_images_are_augmented_in_float32_and_float64_ones_in_float64() -> None:
    images = pictures(dtype=torch.bfloat16)
    assert torch.equal(run(images, 0.8), run(images.float(), 0.8))
    assert run(pictures(), 0.8).dtype == torch.float64
    assert torch.allclose(run(pictures(), 0.8).float(), run(pictures(dtype=torch.float32), 0.8), atol=1e-6)


def test_memory_formats_do_not_matter() -> None:
    images = pictures()
    assert torch.allclose(run(images.contiguous(memory_format=torch.channels_last), 0.8), run(images, 0.8), atol=1e-14)


def test_a_bad_sample_does_not_spoil_the_others() -> None:
    images = pictures(dtype=torch.float32)
    expected = run(images, 0.8)
    images[3] = math.nan
    found = run(images, 0.8)
    rest = torch.arange(16) != 3
    assert torch.equal(found[rest], expected[rest])


def test_deterministic_algorithms_allow_the_pipe_and_both_derivatives() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        images = pictures(dtype=torch.float32).requires_grad_()
        squared_gradient_norms(run(images, 0.8).square().flatten(1).sum(1), images).mean().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert images.grad is not None and images.grad.isfinite().all()


class Unknown:
    def uniform(self, n: int, *shape: int) -> torch.Tensor:
        return torch.empty(n, *shape)


def test_the_host_never_reads_a_value() -> None:
    """Fake tensors have no values: reading one, or a shape that depends on one, raises."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        images = torch.zeros(4, 3, 8, 8, requires_grad=True)
        p = torch.zeros(())
        seen = augment(images, config=AugmentConfig(), p=p, draws=Unknown())  # type: ignore[arg-type]
        squared_gradient_norms(seen.square().flatten(1).sum(1), images).mean().backward()
        assert adapt(p, seen.sign().mean(), config=AdaConfig(), batch=4).shape == ()
