"""A recording: decoding alone is timed, and no partial image shows what was not drawn yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ganline.images import to_pixels
from ganline.language.recording import GREY, partial_images, record, record_tokens, spread
from ganline.language.sections import KMeansConfig, PixelsConfig
from ganline.language.tokenizers import Patches, Pixels
from ganline.models.config import ImageSpec, VQConfig
from ganline.models.vq import VQAutoencoder


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def patches() -> Patches:
    tokenizer = Patches(KMeansConfig(vocab=8, patch=4), ImageSpec(resolution=8, channels=1))
    tokenizer.codes.data = torch.linspace(-1, 1, 8)[:, None].expand(-1, 16).clone()
    return tokenizer


def test_times_hold_decoding_alone_and_the_tokenizers_decoder_comes_last() -> None:
    clock, tokenizer, decoded = Clock(), patches(), []

    def tokens() -> Iterator[int]:
        for token in (1, 7, 3, 5):
            clock.now += 0.002
            yield token

    def decode(rows: torch.Tensor) -> torch.Tensor:
        clock.now += 0.001
        decoded.append(len(rows))
        return tokenizer.decode(rows)

    made = record_tokens(tokens(), decode=decode, clock=clock)
    assert made.times_ms == pytest.approx((2.0, 4.0, 6.0, 8.0)) and made.done_ms == pytest.approx(9.0)
    assert decoded == [1, 4]  # the image within the clock, the partial ones after it
    assert made.images.shape == (4, 1, 8, 8)
    assert (made.images[-1] == to_pixels(tokenizer.decode(torch.tensor([[1, 7, 3, 5]])))[0].numpy()).all()


def test_patches_are_painted_one_by_one_and_the_rest_is_grey() -> None:
    tokenizer = patches()
    tokens = torch.tensor([0, 7, 2, 4])
    whole, parts = to_pixels(tokenizer.decode(tokens[None]))[0], partial_images(tokens, decode=tokenizer.decode)
    assert (parts[0, 0, :4, :4] == whole[0, :4, :4].numpy()).all()
    assert (parts[0, 0, :4, 4:] == GREY).all() and (parts[0, 0, 4:] == GREY).all()
    assert (parts[1, 0, :4] == whole[0, :4].numpy()).all() and (parts[1, 0, 4:] == GREY).all()
    assert (parts[3] == whole.numpy()).all()


def test_no_partial_image_of_a_convolutional_decoder_depends_on_tokens_to_come() -> None:
    torch.manual_seed(0)
    net = VQAutoencoder(VQConfig(vocab=16, width=8), ImageSpec(resolution=16, channels=3)).eval()
    tokens = torch.randint(1, 16, (16,))
    other = torch.cat([tokens[:9], (tokens[9:] + 3) % 16])
    a, b = (partial_images(each, decode=net.decode) for each in (tokens, other))
    assert (a[:9] == b[:9]).all() and (a[9:] != b[9:]).any()
    assert a.shape == (16, 3, 16, 16)


def test_pixels_are_painted_value_by_value() -> None:
    tokenizer = Pixels(PixelsConfig(levels=4), ImageSpec(resolution=8, channels=3))
    parts = partial_images(torch.full((192,), 3), decode=tokenizer.decode)
    assert parts[3, :, 0, 0].tolist() == [255, 255, 255] and parts[3, :, 0, 1].tolist() == [255, GREY, GREY]
    assert (parts[-1] == 255).all()


def test_tokens_that_are_no_grid_are_refused() -> None:
    with pytest.raises(AssertionError, match="7 tokens"):
        spread(torch.ones(1, 7, dtype=torch.bool), 1, 8, 8)


def test_a_teacher_is_recorded_from_its_noise_and_condition() -> None:
    tokenizer = patches()

    class Teacher:
        def steps(self, z: torch.Tensor, condition: torch.Tensor | None) -> Iterator[int]:
            assert condition is not None
            for value in z[0]:
                yield int(value) + int(condition[0])

        def decode(self, tokens: torch.Tensor) -> torch.Tensor:
            return tokenizer.decode(tokens)

    made = record(Teacher(), torch.tensor([[1.0, 2.0, 0.0, 3.0]]), torch.tensor([4]))
    assert (made.images[-1] == to_pixels(tokenizer.decode(torch.tensor([[5, 6, 4, 7]])))[0].numpy()).all()
    assert 0 < made.times_ms[0] <= made.times_ms[-1] <= made.done_ms
