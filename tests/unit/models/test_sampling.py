"""An image's bytes depend on what was asked for, never on what else runs beside it; it costs one micro-batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganline.acceleration.export import export_generator
from ganline.acceleration.fold import fold
from ganline.acceleration.mixture import mixture
from ganline.acceleration.quantize import quantize_generator
from ganline.acceleration.runtime import OnnxMixture, open_generator
from ganline.devices import Compute, pick
from ganline.language.teacher import Teacher
from ganline.models.sampling import Inputs, draw_inputs, micro_batches, run_G, sample
from ganline.models.spec import Generator
from tests.unit.acceleration.small import drawn, small
from tests.unit.teachers import teacher
from tests.unit.variants import FAMILIES, LABELS

N, SEEDS = 4000, (0, 5)
MICRO_BATCH = Generator.micro_batch
K = len(LABELS)
BACKENDS = ["torch", "torch mixture", "onnx", "int8", "onnx mixture", "language model"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two exported generators, in float32 and int8."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(2):
        G = small(seed=number)
        export_generator(fold(G), folder / f"onnx-{number}.onnx", num_classes=K)
        z, condition = drawn(G, 64)
        quantize_generator(folder / f"onnx-{number}.onnx", folder / f"int8-{number}.onnx", z=z, condition=condition)
    return folder


@pytest.fixture(params=BACKENDS)
def backend(request, files) -> Generator:
    """A generator of each kind that images are sampled from."""
    compute = pick("fp32")
    return {
        "torch": lambda: compute.place(small()),
        "torch mixture": lambda: compute.place(mixture([small(seed=number) for number in range(3)])),
        "onnx": lambda: open_generator(files / "onnx-0.onnx"),
        "int8": lambda: open_generator(files / "int8-0.onnx"),
        "onnx mixture": lambda: OnnxMixture([open_generator(files / f"onnx-{number}.onnx") for number in range(2)]),
        "language model": teacher,
    }[request.param]()


def num_images(G: Generator) -> int:
    """Enough to meet every composition; a language model's take a hundred times as long as a network's."""
    return 320 if isinstance(G, Teacher) else N


def inputs_of(G: Generator, n: int, seed: int, **options) -> Inputs:
    return joined(list(draw_inputs(G, n=n, seed=seed, num_classes=K, **options)))


def joined(parts: list[Inputs]) -> Inputs:
    conditions = [part.condition for part in parts if part.condition is not None]
    return Inputs(
        torch.cat([part.z for part in parts]),
        torch.cat(conditions) if conditions else None,
        torch.cat([part.slots for part in parts]),
        None,
    )


def images_of(G: Generator, n: int, seed: int, *, compute: Compute | None = None, **options) -> torch.Tensor:
    asked = {"n": n, "seed": seed, "num_classes": K, "compute": compute or pick("fp32")}
    return torch.cat([images for images, _ in sample(G, **asked, **options)])


class Counting(Generator):
    """Another generator whose passes are counted."""

    def __init__(self, G: Generator):
        super().__init__()
        self.G, self.z_dim, self.num_classes = G, G.z_dim, G.num_classes
        self.passes: list[int] = []

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        self.passes.append(len(z))
        return self.G(z, label)


def test_the_bytes_of_an_image_are_the_same_for_every_n(backend) -> None:
    every = images_of(backend, num_images(backend), 7)
    for n in (1, 3, 8, 13, 64, 65, 200):
        assert torch.equal(images_of(backend, n, 7), every[:n]), n


def test_the_bytes_of_an_image_are_the_same_in_every_batch_composition(backend) -> None:
    """Rows of two seeds, labels drawn and asked for, mixed at random and cut into requests of many sizes."""
    compute, n = pick("fp32"), num_images(backend)
    requests = [(seed, own) for own in ({}, {"label": 1}) for seed in SEEDS]
    every = joined([inputs_of(backend, n // 4, seed, **own) for seed, own in requests])
    expected = torch.cat([images_of(backend, n // 4, seed, **own) for seed, own in requests])
    assert len(every) == len(expected) == n
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    start = 0
    for size in (1, 2, 3, 5, 8, 13, 64, n):
        rows = order[start : start + size]
        assert torch.equal(run_G(backend, every.rows(rows), compute=compute), expected[rows]), size
        start += size


class Shifting(Generator):
    """Paints its row of the batch and the size of the batch: what else would show in last bits alone."""

    z_dim, num_classes = 2, K

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        marks = torch.stack([torch.arange(len(z)), torch.full((len(z),), len(z))], 1)
        return (marks / 127.5 - 1).reshape(-1, 2, 1, 1)


@pytest.mark.parametrize("members", [1, 3])
def test_an_image_has_one_slot_and_one_batch_size_whatever_runs_beside_it(members) -> None:
    G, compute, seeds = mixture([Shifting() for _ in range(members)]), pick("fp32"), range(5)
    every = joined([inputs_of(G, 200, seed) for seed in seeds])
    expected = torch.cat([images_of(G, 200, seed) for seed in seeds])
    assert torch.equal(expected[:, 0, 0, 0], every.slots.byte()) and (expected[:, 1] == MICRO_BATCH).all()
    for n in (1, 3, 8, 13, 64, 65):
        assert torch.equal(images_of(G, n, 4), expected[800 : 800 + n]), n
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    for rows in order.split([1, 3, 8, 13, 64, 911]):
        assert torch.equal(run_G(G, every.rows(rows), compute=compute), expected[rows]), len(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_its_bytes_beside_other_images(family) -> None:
    G, compute = pick("fp32").place(small(family, resolution=28)), pick("fp32")
    every, beside = inputs_of(G, 96, 3), inputs_of(G, 96, 4, label=2)
    expected = images_of(G, 96, 3)
    assert torch.equal(images_of(G, 5, 3), expected[:5])
    for truncation in (1.0, 0.7):
        alone = torch.cat(
            [run_G(G, every.rows(slice(i, i + 1)), compute=compute, truncation=truncation) for i in range(8)]
        )
        order = torch.randperm(192, generator=torch.Generator().manual_seed(1))
        mixed = run_G(G, joined([every, beside]).rows(order), compute=compute, truncation=truncation)
        assert torch.equal(mixed[order.argsort()][:8], alone), truncation


def test_one_image_costs_one_micro_batch() -> None:
    G = Counting(small())
    for n, passes in ((1, 1), (MICRO_BATCH, 1), (MICRO_BATCH + 1, 2), (64, 8), (65, 9), (130, 17)):
        G.passes.clear()
        assert len(images_of(G, n, seed=3)) == n
        assert G.passes == [MICRO_BATCH] * passes


def test_images_of_a_mixture_fill_the_micro_batches_of_their_members() -> None:
    members = [Counting(small(seed=number)) for number in range(3)]
    G = mixture(members)
    images_of(G, 1, seed=3)
    assert [len(member.passes) for member in members].count(1) == 1
    for member in members:
        member.passes.clear()
    images_of(G, 640, seed=3)
    passes = [size for member in members for size in member.passes]
    assert set(passes) == {MICRO_BATCH} and len(passes) <= 640 / MICRO_BATCH + 10 * len(members)


def test_requests_of_different_seeds_share_a_micro_batch() -> None:
    G, compute = Counting(small()), pick("fp32")
    requests = joined([inputs_of(G, 1, seed) for seed in range(MICRO_BATCH)])
    made = run_G(G, requests, compute=compute)
    assert G.passes == [MICRO_BATCH]
    assert torch.equal(made, torch.cat([images_of(G, 1, seed) for seed in range(MICRO_BATCH)]))


def test_rows_take_the_slots_that_are_theirs() -> None:
    rows, places = micro_batches(torch.tensor([2, 2, 0, 7, 2]), 8)
    assert rows.tolist() == [[2, 0, 0, 0, 0, 0, 0, 3], [0, 0, 1] + [0] * 5, [0, 0, 4] + [0] * 5]
    assert places.tolist() == [2, 10, 0, 7, 18]


def test_measured_images_are_those_that_people_get() -> None:
    """Evaluation draws labels as often as training images have them: the images are those of the labels drawn."""
    G, weights = small(), torch.tensor([5, 1, 3])
    measured = list(sample(G, n=40, seed=1001, num_classes=K, compute=pick("fp32"), label_weights=weights))
    images, labels = torch.cat([made for made, _ in measured]), torch.cat([labels for _, labels in measured])
    for label in range(K):
        own = labels == label
        assert own.any() and torch.equal(images_of(G, 40, 1001, label=label)[own], images[own])
