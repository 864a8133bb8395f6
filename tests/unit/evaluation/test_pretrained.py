"""Published networks with invented weights of their shapes: no published ones can be had here."""

from __future__ import annotations

import hashlib
import io
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ganline.devices import pick
from ganline.errors import ConfigError
from ganline.evaluation.config import PretrainedConfig
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.evaluation.pretrained import NETWORKS, DINOv2, full_name, load_pretrained
from ganline.torchvision_shim import ensure_torchvision

# Parameters of the published networks; 4 bytes each are the published files' sizes but for their headers.
PARAMETERS = {
    "dinov2-vits14": 22_056_576,
    "dinov2-vitb14": 86_580_480,
    "dinov2-vitl14": 304_368_640,
    "clip-vit-b-32": 87_849_216,
    "clip-vit-b-16": 86_192_640,
    "clip-vit-l-14": 303_966_208,
    "clip-vit-l-14-336px": 304_293_888,
}
WIDTHS = {"dinov2-vits14": 384, "dinov2-vitb14": 768, "dinov2-vitl14": 1024, "clip-vit-b-32": 512,
          "clip-vit-b-16": 512, "clip-vit-l-14": 768, "clip-vit-l-14-336px": 768}  # fmt: skip


def invent(shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Weights that keep activations near 1: the same on every machine, float32."""
    rng, state = np.random.default_rng(0), {}
    for key, shape in sorted(shapes.items()):
        x = rng.standard_normal(tuple(shape), dtype=np.float32)
        if key.endswith("num_batches_tracked"):
            x = np.zeros((), np.int64)
        elif key.endswith("running_var"):
            x = 0.9 + 0.05 * np.abs(x)
        elif len(shape) < 2:
            x = 0.1 * x + (not key.endswith(("bias", "running_mean", "embedding")))
        elif not key.endswith(("pos_embed", "positional_embedding")):
            x = x * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        state[key] = torch.from_numpy(np.asarray(x))
    return state


def pictures(n: int, *, side: int, channels: int = 3) -> torch.Tensor:
    """Smooth pictures with edges, uint8 [n, channels, side, side]."""
    coarse = np.random.default_rng(1).integers(0, 256, (n, channels, 8, 8), dtype=np.uint8)
    return torch.from_numpy(coarse.repeat(side // 8, axis=2).repeat(side // 8, axis=3))


def empty(name: str) -> torch.nn.Module:
    """A network of the table without weights."""
    options = dict(NETWORKS[name].options)
    with torch.device("meta"):
        if name.startswith("dinov2"):
            return DINOv2(**options)
        ensure_torchvision()
        from torch_fidelity.feature_extractor_clip import VisionTransformer

        return VisionTransformer(*(options[key] for key in ("side", "patch", "width", "depth", "heads", "out")))


def config_of(path: Path, name: str) -> PretrainedConfig:
    return PretrainedConfig(name=name, weights=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def saved(state: object, path: Path, name: str = "dinov2-vits14") -> PretrainedConfig:
    torch.save(state, path)
    return config_of(path, name)


@pytest.fixture(scope="module")
def small() -> dict[str, torch.Tensor]:
    """DINOv2's smallest."""
    return invent({key: tensor.shape for key, tensor in empty("dinov2-vits14").state_dict().items()})


@pytest.fixture(scope="module")
def small_file(small, tmp_path_factory) -> PretrainedConfig:
    return saved(small, tmp_path_factory.mktemp("dinov2") / "small.pth")


@pytest.fixture(scope="module")
def extract(small_file):
    return load_pretrained(small_file, pick("fp32"))


@pytest.fixture(scope="module")
def inception(tmp_path_factory) -> PretrainedConfig:
    ensure_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Blank(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_, **__):
            return None

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.device("meta"):
        net = Blank("blank", ["2048"], feature_extractor_weights_path=nothing)
    state = invent({key: tensor.shape for key, tensor in net.state_dict().items()})
    for key, tensor in state.items():
        if key.startswith(("Mixed_7c.branch3", "Mixed_7c.branch_pool")) and ".bn." in key:
            tensor.zero_()  # constant features: torch-fidelity's eigenvalues of 2048 x 2048 take five seconds otherwise
    return saved(state, tmp_path_factory.mktemp("inception") / "random.pth", "inception2015")


def test_names_carry_weights_preprocessing_and_layer(monkeypatch) -> None:
    published = {
        name: PretrainedConfig(name=name, weights="x", sha256=network.sha256) for name, network in NETWORKS.items()
    }
    assert full_name(published["inception2015"]) == "inception2015"
    assert full_name(published["dinov2-vits14"]) == "dinov2-vits14@c3eca3f2"
    assert len({full_name(config) for config in published.values()}) == len(NETWORKS)
    assert not [name for config in published.values() if "unpublished" in (name := full_name(config))]
    other = published["dinov2-vits14"].model_copy(update={"sha256": "0" * 64})
    assert full_name(other).startswith("dinov2-vits14-unpublished@")
    mine = full_name(published["inception2015"].model_copy(update={"sha256": "6726825d" + "0" * 56}))
    assert mine.startswith("inception-unpublished@")
    network = NETWORKS["dinov2-vits14"]
    for changed in (replace(network, lens=replace(network.lens, side=518)), replace(network, layer="another")):
        monkeypatch.setitem(NETWORKS, "dinov2-vits14", changed)
        assert full_name(published["dinov2-vits14"]) not in ("dinov2-vits14@c3eca3f2", full_name(other))


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_transformer_has_the_published_size_and_takes_what_its_lens_gives(name: str) -> None:
    net, lens = empty(name), NETWORKS[name].lens
    assert sum(each.numel() for each in net.parameters()) == PARAMETERS[name]
    assert NETWORKS[name].options["width"] == 64 * NETWORKS[name].options["heads"]
    seen = lens(torch.zeros(2, 1, 32, 32, dtype=torch.uint8), dtype=torch.float32)
    assert net(seen.to("meta")).shape == (2, WIDTHS[name])
    assert sorted([*PARAMETERS, "inception2015"]) == sorted(NETWORKS)


def test_dinov2_gives_what_the_official_code_gives(small_file) -> None:
    """Golden values: facebookresearch/dinov2 (b8931f7) in float64 on the same weights and the same 224 px input."""
    features, logits = load_pretrained(small_file, pick("fp64"))(pictures(2, side=32))
    assert logits is None and features.shape == (2, 384) and features.dtype == torch.float32
    golden = [[1.431492, 0.065417, 1.5434, -0.41497], [1.268591, 0.087385, 1.556322, -0.61742]]
    assert features[:, :4].double().numpy() == pytest.approx(np.array(golden), abs=2e-6)


def test_clip_gives_what_torch_fidelity_gives_where_nothing_is_resized(monkeypatch, tmp_path) -> None:
    network = NETWORKS["clip-vit-b-32"]
    monkeypatch.setitem(NETWORKS, "clip-vit-b-32", replace(network, options=dict(network.options) | {"depth": 2}))
    shapes = {key: tensor.shape for key, tensor in empty("clip-vit-b-32").state_dict().items()}
    state = {f"visual.{key}": tensor.half() for key, tensor in invent(shapes).items()}
    state |= {"text_projection": torch.zeros(512, 512), "logit_scale": torch.zeros(())}
    extract = load_pretrained(saved(state, tmp_path / "clip.pth", "clip-vit-b-32"), pick("fp32"))
    from torch_fidelity.feature_extractor_clip import build_model
    from torchvision.transforms.functional import normalize

    images = pictures(2, side=224)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    with torch.inference_mode():
        theirs = build_model(state, torch.float32).visual(normalize(images / 255, mean, std))
    ours, _ = extract(images)
    assert ours.dtype == torch.float32 and float(theirs.std()) > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


class AsDataset(torch.utils.data.Dataset):
    """uint8 [N, 3, H, W] as torch-fidelity wants its images."""

    def __init__(self, images: torch.Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.images[i]


def test_fid_is_the_one_that_torch_fidelity_computes(inception) -> None:
    from torch_fidelity import calculate_metrics

    real = pictures(5, side=32, channels=1)
    fake = 255 - real.flip(3)
    state = torch.random.get_rng_state()
    extract = load_pretrained(inception, pick("fp64"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert extract.name.startswith("inception-unpublished@") and not extract.classifies
    ours = frechet_distance(*(fit_gaussian(extract(images)[0]) for images in (fake, real)))
    theirs = calculate_metrics(
        input1=AsDataset(fake.expand(-1, 3, -1, -1)),
        input2=AsDataset(real.expand(-1, 3, -1, -1)),
        fid=True,
        cuda=False,
        verbose=False,
        cache=False,
        batch_size=5,
        save_cpu_ram=True,
        feature_extractor_weights_path=inception.weights,
    )["frechet_inception_distance"]
    assert theirs > 0.01
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_features_depend_on_the_image_alone(extract, small_file, small, tmp_path) -> None:
    images = pictures(3, side=16)
    features, _ = extract(images)
    assert float(features.std(0).mean()) > 0.01
    assert torch.equal(extract(images)[0], features)
    torch.testing.assert_close(torch.cat([extract(each)[0] for each in images.split(2)]), features, rtol=0, atol=2e-5)
    grey = pictures(1, side=16, channels=1)
    torch.testing.assert_close(extract(grey)[0], extract(grey.expand(-1, 3, -1, -1))[0], rtol=0, atol=2e-5)
    save_file(small, tmp_path / "small.safetensors")
    again = load_pretrained(config_of(tmp_path / "small.safetensors", "dinov2-vits14"), pick("fp32"))
    assert torch.equal(again(images)[0], features) and again.name != extract.name
    with pytest.raises(ConfigError, match="2 channels"):
        extract(pictures(1, side=16, channels=2))


@pytest.mark.parametrize("side", [16, 32, 256])
def test_the_lens_resizes_as_pillow_does_in_float(side: int) -> None:
    lens, images = NETWORKS["dinov2-vits14"].lens, pictures(1, side=side)
    channels = [Image.fromarray(each.astype(np.float32)) for each in images[0].numpy()]
    resized = np.stack([np.asarray(each.resize((224, 224), Image.Resampling.BICUBIC)) for each in channels])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (resized.clip(0, 255) / 255 - mean[:, None, None]) / std[:, None, None]
    seen = lens(images, dtype=torch.float32)[0].numpy()
    assert (resized.min() < 0 or resized.max() > 255) or side == 256
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-4)


class Bomb:
    """What a hostile pickle does."""

    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": Bomb()}, "is no file of plain weights"),
        ({"model": {"x": torch.zeros(1)}}, "is no file of plain weights"),
        ([torch.zeros(1)], "is no file of plain weights"),
        ({}, "is no file of plain weights"),
        (b"", "is no file of plain weights"),
        (b"<html>404</html>", "is no file of plain weights"),
        ({"embeddings.cls_token": torch.zeros(1)}, "does not hold the weights of dinov2-vits14"),
    ],
    ids=["pickle", "nested", "list", "nothing", "empty", "html", "keys"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_are_refused_in_words_and_nothing_is_executed(content, message, suffix, tmp_path, capsys) -> None:
    path = tmp_path / f"file{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif suffix == ".pth" or "plain" in message:
        torch.save(content, path)
    else:
        save_file(content, path)
    with pytest.raises(ConfigError, match=message) as caught:
        load_pretrained(config_of(path, "dinov2-vits14"), pick("fp32"))
    assert caught.value.expected and caught.value.remedy and len(str(caught.value)) < 1200
    assert "unpickled" not in capsys.readouterr().out and "weights_only" not in str(caught.value)


def test_a_damaged_file_is_refused(small_file, tmp_path) -> None:
    path, whole = tmp_path / "damaged.pth", Path(small_file.weights).read_bytes()
    entry = whole.rindex(b"PK\x01\x02")  # the last in the archive's list of contents
    for damaged in (whole[:100_000], whole[:entry] + b"XX" + whole[entry + 2 :]):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="is no file of plain weights"):
            load_pretrained(config_of(path, "dinov2-vits14"), pick("fp32"))


def test_the_file_must_be_there_and_be_the_one_that_params_name(small_file, tmp_path) -> None:
    with pytest.raises(ConfigError, match="is not a file") as caught:
        load_pretrained(small_file.model_copy(update={"weights": str(tmp_path / "none.pth")}), pick("fp32"))
    assert "dinov2_vits14_pretrain.pth" in caught.value.remedy
    with pytest.raises(ConfigError, match=f"has sha256 {small_file.sha256}") as caught:
        load_pretrained(small_file.model_copy(update={"sha256": "0" * 64}), pick("fp32"))
    assert "0" * 64 in caught.value.expected and "if you trust the file" in caught.value.remedy


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "type"])
def test_keys_and_shapes_must_be_exactly_the_published_ones(change: str, small, tmp_path) -> None:
    state, key = dict(small), "blocks.11.ls2.gamma"
    if change == "missing":
        del state[key]
    else:
        state |= {"extra": {"head.weight": torch.zeros(1)}, "shape": {key: torch.ones(385)},
                  "type": {key: torch.ones(384, dtype=torch.int64)}}[change]  # fmt: skip
    with pytest.raises(ConfigError, match="does not hold the weights") as caught:
        load_pretrained(saved(state, tmp_path / "odd.pth"), pick("fp32"))
    assert ("head.weight" if change == "extra" else key) in str(caught.value)


def test_inception_is_as_strict(tmp_path) -> None:
    with pytest.raises(ConfigError, match="does not hold the weights of inception2015"):
        load_pretrained(saved({"fc.bias": torch.zeros(1008)}, tmp_path / "odd.pth", "inception2015"), pick("fp32"))


class Archive(torch.nn.Module):
    """As OpenAI's archives: an image tower beside other weights."""

    def __init__(self, visual: torch.nn.Module):
        super().__init__()
        self.visual, self.logit_scale = visual, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.visual(x)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_is_not_opened_and_the_remedy_converts_it(monkeypatch, tmp_path) -> None:
    network, path = NETWORKS["clip-vit-b-32"], tmp_path / "it's a $HOME" / "ViT-B-32.pt"
    path.parent.mkdir()
    monkeypatch.setitem(NETWORKS, "clip-vit-b-32", replace(network, options=dict(network.options) | {"depth": 1}))
    visual, example = empty("clip-vit-b-32").to_empty(device="cpu"), torch.zeros(1, 3, 224, 224)
    visual.load_state_dict(invent({key: tensor.shape for key, tensor in visual.state_dict().items()}))
    torch.jit.trace(Archive(visual.eval()), example, check_trace=False).save(str(path))
    with pytest.raises(ConfigError, match="TorchScript archive") as caught:
        load_pretrained(config_of(path, "clip-vit-b-32"), pick("fp32"))
    command = caught.value.remedy.split("trust it: ")[1].split("; then set")[0]
    subprocess.run(["sh", "-c", command.replace("python", shlex.quote(sys.executable), 1)], check=True)
    extract = load_pretrained(config_of(path.with_suffix(".safetensors"), "clip-vit-b-32"), pick("fp32"))
    with torch.inference_mode():
        torch.testing.assert_close(extract.net(example), visual(example))
