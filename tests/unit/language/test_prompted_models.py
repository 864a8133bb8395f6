"""A GAN that is told prompts: networks, sampling, its bundle, and `ganline generate --prompt`."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ganline
from ganline.devices import pick
from ganline.errors import BundleError, ConfigError
from ganline.language.prompts import FILES, TRAIN, files_of
from ganline.losses.objective import Batch, judged
from ganline.models import ImageSpec
from ganline.models.config import PixelShuffleConfig
from ganline.models.sampling import sample
from ganline.registry.bundle import GENERATOR, ModelSpec, extend_bundle, open_bundle, write_bundle
from ganline.training.ema import recalibrate

LABELS = ("0", "1", "2")


def spec_of(prompt_dim: int) -> ModelSpec:
    model = PixelShuffleConfig(z_dim=8, g_width=16, d_width=8, prompt_dim=prompt_dim)
    return ModelSpec(dataset="digits8", model=model, image=ImageSpec(resolution=16, channels=1), labels=LABELS)


def networks(prompt_dim: int):
    spec = spec_of(prompt_dim)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return spec.build_generator(), spec.build_discriminator()


@pytest.fixture(scope="module")
def folder(prompts, tmp_path_factory) -> Path:
    """A bundle of a model of prompts with random weights."""
    G, _ = networks(prompts.dim)
    out = tmp_path_factory.mktemp("bundles") / "prompted"
    write_bundle(out, spec_of(prompts.dim), networks={GENERATOR: G.state_dict()}, extras=files_of(prompts))
    return out


def test_a_prompt_decides_image_and_logit_and_every_parameter_learns(prompts) -> None:
    G, D = networks(prompts.dim)
    z, told = torch.randn(1, 8).expand(4, 8), prompts.embeddings[TRAIN][[0, 0, 30, 60]]
    G.eval()
    images = G(z, told)
    assert images.shape == (4, 1, 16, 16)
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
    assert not torch.equal(D(images[:1], told[:1]), D(images[:1], told[2:3]))
    G.train()
    D(G(torch.randn(4, 8), told), told).square().sum().backward()
    without = [name for net in (G, D) for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_labels_in_a_prompts_place_are_our_own_mistake(prompts) -> None:
    G, _ = networks(prompts.dim)
    for wrong in (None, torch.tensor([0])):
        with pytest.raises(AssertionError, match="embeddings"):
            G(torch.randn(1, 8), wrong)


def test_without_prompts_the_networks_are_what_they_were() -> None:
    G, D = networks(0)
    assert not any("prompt" in name for name, _ in G.named_parameters())
    assert G.stem.in_features == 8 + 3
    assert D.embed.weight.shape == (3, 128)


def test_groups_of_images_pass_d_with_the_prompts_of_each(prompts) -> None:
    _, D = networks(prompts.dim)
    told, groups = prompts.embeddings[TRAIN][[0, 40]], [torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)]
    batch = Batch(0, groups[0], told, torch.randn(2, 8), lambda stream: None)  # type: ignore[arg-type, return-value]
    logits, _ = judged(D, batch, [group.clone() for group in groups], penalised=[False, False])
    apart = torch.cat([D(group, told) for group in groups])
    assert torch.allclose(logits, apart, atol=1e-5)


def test_sampling_tells_a_prompt_of_each_label_by_seed_and_place(folder) -> None:
    G = open_bundle(folder).generator()

    def draw(n: int, seed: int, **options) -> tuple[torch.Tensor, torch.Tensor]:
        batches = list(sample(G, n=n, seed=seed, num_classes=3, compute=pick("fp32"), **options))
        return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])

    many, labels = draw(70, 1)
    assert set(labels.tolist()) == {0, 1, 2}
    assert torch.equal(draw(3, 1)[0], many[:3])
    assert not torch.equal(draw(3, 2)[0], many[:3])
    told: list[torch.Tensor] = []
    draw(70, 1, tell=lambda asked, generator: told.append(asked) or G.tell(asked, generator))
    assert torch.equal(torch.cat(told)[:70], labels)


def test_norms_are_recalibrated_by_prompts(folder) -> None:
    G = open_bundle(folder).generator()
    before = G.norms[0].running_mean.clone()
    recalibrate(G, seed=0, label_weights=torch.ones(3), compute=pick("fp32"))
    first = G.norms[0].running_mean.clone()
    assert not torch.allclose(before, first)
    recalibrate(G, seed=0, label_weights=torch.ones(3), compute=pick("fp32"))
    assert torch.equal(G.norms[0].running_mean, first)


def test_a_prompt_paints_and_depends_on_seed_alone_beside(folder) -> None:
    model = ganline.load(str(folder))
    images, classes = model.sample_with_labels(70, prompt="a thick two", seed=3)
    assert (images.shape, images.dtype, classes) == ((70, 1, 16, 16), np.uint8, None)
    assert np.array_equal(model.sample(5, prompt=" a thick two ", seed=3), images[:5])
    assert not np.array_equal(model.sample(5, prompt="a thin zero", seed=3), images[:5])
    assert not np.array_equal(model.sample(5, prompt="a thick two", seed=4), images[:5])
    assert model.sample(2, label="2").shape == model.sample(2).shape == (2, 1, 16, 16)


def test_a_strange_prompt_is_painted_with_a_warning(folder, caplog) -> None:
    model = ganline.load(str(folder))
    with caplog.at_level(logging.WARNING, logger="ganline"):
        model.sample(1, prompt="a thick two")
        assert not caplog.records
        model.sample(1, prompt="a purple cow")
    assert "'a purple cow' is far from every prompt that this model knows" in caplog.text


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(folder, prompt) -> None:
    with pytest.raises(ConfigError, match="empty"):
        ganline.load(str(folder)).sample(1, prompt=prompt)


def test_label_and_prompt_together_are_refused(folder) -> None:
    with pytest.raises(ConfigError, match="both"):
        ganline.load(str(folder)).sample(1, prompt="a two", label="2")


@pytest.mark.parametrize("conditional", [True, False])
def test_a_model_without_prompts_refuses_one(make_bundle, conditional) -> None:
    with pytest.raises(ConfigError, match="takes none"):
        ganline.load(str(make_bundle(conditional=conditional))).sample(1, prompt="a circle")


def test_a_model_of_another_encoder_asks_for_it(prompts, tmp_path, encoder) -> None:
    import dataclasses

    other = dataclasses.replace(prompts, encoder=encoder.identity | {"name": "theirs", "sha256": "1" * 64})
    G, _ = networks(prompts.dim)
    write_bundle(tmp_path / "b", spec_of(prompts.dim), networks={GENERATOR: G.state_dict()}, extras=files_of(other))
    with pytest.raises(ConfigError, match="all-MiniLM") as caught:
        ganline.load(str(tmp_path / "b")).sample(1, prompt="a two")
    assert "theirs (11111111)" in str(caught.value)


def test_prompts_go_with_the_model_and_are_missed(folder, prompts, tmp_path) -> None:
    extend_bundle(folder, tmp_path / "extended", {"card.md": b"# a card"})
    again = open_bundle(tmp_path / "extended")
    assert again.prompts is not None
    assert again.prompts.texts == prompts.texts
    assert (tmp_path / "extended" / "card.md").read_bytes() == b"# a card"
    G, _ = networks(prompts.dim)
    write_bundle(tmp_path / "bare", spec_of(prompts.dim), networks={GENERATOR: G.state_dict()})
    with pytest.raises(BundleError, match=FILES[0].replace(".", r"\.")):
        open_bundle(tmp_path / "bare").generator()


def test_damaged_prompts_are_found_when_the_bundle_is_opened(folder, tmp_path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    text = (tmp_path / "copy" / FILES[0]).read_text()
    (tmp_path / "copy" / FILES[0]).write_text(text.replace("a thick two", "a thick ten"))
    with pytest.raises(BundleError, match="damaged"):
        open_bundle(tmp_path / "copy")


def test_the_command_line_paints_by_prompt(folder, tmp_path) -> None:
    arguments = ["generate", "--model", str(folder), "-o", str(tmp_path / "out.png"), "--n", "4"]
    command = [sys.executable, "-m", "ganline", *arguments, "--prompt", "a purple cow"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "is far from every prompt" in result.stdout + result.stderr
    assert (tmp_path / "out.png").is_file()
