"""Feature extractors from published weights on disk: Inception-2015, DINOv2, CLIP. Nothing is downloaded or executed.

The identity is the hash of weights, preprocessing and layer. Inception (the original FID's, Heusel et al. 2017,
arXiv 1706.08500) and CLIP's image tower (Radford et al. 2021, arXiv 2103.00020) are torch-fidelity's networks. DINOv2
(Oquab et al. 2023, arXiv 2304.07193) is written out here: torch-fidelity has it from torch.hub only, and torchvision's
ViT has no LayerScale.
"""

from __future__ import annotations

import io
import shlex
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ganline.devices import Compute
from ganline.errors import ConfigError
from ganline.evaluation.config import PretrainedConfig
from ganline.files import sha256_file, sha256_json

State = Mapping[str, torch.Tensor]

CONVERT = (
    'on a machine where you trust it: python -c "import sys, torch; from safetensors.torch import save_file; '
    "save_file({{k: v.contiguous() for k, v in torch.jit.load(sys.argv[1], map_location='cpu').state_dict().items() "
    "if k.startswith('visual.')}}, sys.argv[2])\" {source} {target}; then set weights and sha256 to the new file"
)


@dataclass(frozen=True)
class Lens:
    """uint8 [n, 1 or 3, H, W] -> [n, 3, side, side]: antialiased bicubic in float, clipped to [0, 255], normalised.

    It is dgm-eval's (Stein et al. 2023, arXiv 2306.04675) clean resize; without that flag dgm-eval rounds to uint8 too.
    A picture that is not square is squeezed, as its DINOv2 does.
    """

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def words(self) -> str:
        return (
            f"float bicubic with antialiasing to {self.side} x {self.side}, clipped to [0, 255]; / 255; "
            f"mean {self.mean}, std {self.std}"
        )

    def __call__(self, images: torch.Tensor, *, dtype: torch.dtype) -> torch.Tensor:
        size = (self.side, self.side)
        x = nn.functional.interpolate(images.to(dtype), size, mode="bicubic", antialias=True).clamp(0, 255) / 255
        mean, std = (torch.tensor(each, dtype=dtype, device=x.device).view(3, 1, 1) for each in (self.mean, self.std))
        return (x - mean) / std


class Attention(nn.Module):
    """Self-attention on tokens [n, T, width]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """One learned factor a channel (Touvron et al. 2021, arXiv 2103.17239)."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        layers = {"fc1": nn.Linear(width, 4 * width), "act": nn.GELU(), "fc2": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ls2 = LayerScale(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DINOv2(nn.Module):
    """The ViT of patch 14, trained at 518 px: [n, 3, side, side] -> class token after the last norm, [n, width].

    Modules are named as the keys of the published files, which hold `mask_token` too; only their training uses it.
    """

    TRAINED_GRID = 37

    def __init__(self, *, width: int, depth: int, heads: int):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.TRAINED_GRID**2, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 14, stride=14)})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed["proj"](images)
        own, grid = self.pos_embed.split([1, self.TRAINED_GRID**2], dim=1)
        grid = grid.transpose(1, 2).unflatten(2, (self.TRAINED_GRID, self.TRAINED_GRID))
        # The official code adds 0.1 to the wanted side; the factor, not the size, decides where it samples.
        factor = (patches.shape[-1] + 0.1) / self.TRAINED_GRID
        positions = nn.functional.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")
        tokens = (patches + positions).flatten(2).transpose(1, 2)
        x = torch.cat([(self.cls_token + own).expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])


def dinov2(state: State, *, width: int, depth: int, heads: int) -> nn.Module:
    """DINOv2 with these weights."""
    with torch.device("meta"):
        net = DINOv2(width=width, depth=depth, heads=heads)
    net.load_state_dict(state, assign=True)
    return net


def clip(state: State, *, side: int, patch: int, width: int, depth: int, heads: int, out: int) -> nn.Module:
    """CLIP's image tower, up to the joint space, with the weights under `visual.`; the text tower's may lie beside."""
    from torch_fidelity.feature_extractor_clip import VisionTransformer

    with torch.device("meta"):
        net = VisionTransformer(side, patch, width, depth, heads, out)
    own = {key.removeprefix("visual."): tensor for key, tensor in state.items() if key.startswith("visual.")}
    net.load_state_dict(own, assign=True)
    return net


class Inception(nn.Module):
    """torch-fidelity's Inception-2015, its own resize included: uint8 [n, 3, H, W] -> pool features [n, 2048]."""

    def __init__(self, state: State):
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # It unpickles whatever file it is given: it gets only what is written here, from tensors already read.
        safe = io.BytesIO()
        torch.save(OrderedDict(state), safe)
        safe.seek(0)
        with torch.random.fork_rng(devices=[]):
            self.net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=safe)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)[0]


@dataclass(frozen=True)
class Network:
    """What is known of a published network. `lens` is None where the network takes uint8."""

    build: Callable[..., nn.Module]
    options: Mapping[str, int]
    layer: str
    lens: Lens | None
    url: str
    sha256: str
    """Of the published file; another file's name says `unpublished`."""

    @property
    def preprocessing(self) -> str:
        return self.lens.words if self.lens else "bilinear as TensorFlow 1 to 299 x 299; (x - 128) / 128"


def dinov2_network(size: str, sha256: str, **options: int) -> Network:
    # Meta publishes no checksums: these are what independent projects pin for its files (refiners among them).
    lens = Lens(224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    url = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_{size}/dinov2_{size}_pretrain.pth"
    return Network(dinov2, options, "class token after the last norm", lens, url, sha256)


def clip_network(file: str, sha256: str, **options: int) -> Network:
    # OpenAI's own preprocessing and checksums (clip.py); its files are TorchScript, so that they must be converted.
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}.pt"
    return Network(clip, options, "image embedding", Lens(options["side"], mean=mean, std=std), url, sha256)


# fmt: off
NETWORKS: Mapping[str, Network] = {
    "inception2015": Network(
        Inception, {}, "pool, 2048", None,
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    "dinov2-vits14": dinov2_network(
        "vits14", "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9", width=384, depth=12, heads=6),
    "dinov2-vitb14": dinov2_network(
        "vitb14", "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73", width=768, depth=12, heads=12),
    "dinov2-vitl14": dinov2_network(
        "vitl14", "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428", width=1024, depth=24, heads=16),
    "clip-vit-b-32": clip_network(
        "ViT-B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        side=224, patch=32, width=768, depth=12, heads=12, out=512),
    "clip-vit-b-16": clip_network(
        "ViT-B-16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        side=224, patch=16, width=768, depth=12, heads=12, out=512),
    "clip-vit-l-14": clip_network(
        "ViT-L-14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        side=224, patch=14, width=1024, depth=24, heads=16, out=768),
    "clip-vit-l-14-336px": clip_network(
        "ViT-L-14-336px", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        side=336, patch=14, width=1024, depth=24, heads=16, out=768),
}
# fmt: on


@dataclass(frozen=True)
class Pretrained:
    """A frozen published network: uint8 [n, 1 or 3, H, W] -> (features float32 [n, F] on the device, None)."""

    name: str
    preprocessing: str
    layer: str
    net: nn.Module
    lens: Lens | None
    compute: Compute
    classifies: bool = False

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Grey is seen as RGB of equal channels. Raises ConfigError for other numbers of channels."""
        if images.shape[1] not in (1, 3):
            raise ConfigError(
                f"{self.name} was given images of {images.shape[1]} channels",
                expected="grey or RGB",
                remedy="take it out of reference.pretrained",
            )
        images = images.to(self.compute.device)
        seen = self.lens(images, dtype=self.compute.dtype) if self.lens else images.expand(-1, 3, -1, -1)
        return self.net(seen).float(), None


def load_pretrained(config: PretrainedConfig, compute: Compute) -> Pretrained:
    """The network with the weights that params name. Raises ConfigError where the file is not what they say."""
    from ganline.torchvision_shim import ensure_torchvision

    network = NETWORKS[config.name]
    path = check_file(config)
    state = read_tensors(path, config.name)
    ensure_torchvision()
    try:
        net = network.build(state, **network.options)
    except RuntimeError as error:
        raise ConfigError(
            f"{path} does not hold the weights of {config.name}: {short(error)}",
            expected=f"the keys and shapes of {network.url}",
            remedy="set name to the network that the file belongs to, or weights to another file",
        ) from error
    net = compute.place(net).eval().requires_grad_(False)
    if network.lens is None:
        net = net.float()  # whatever the run's precision: what is called FID is float32
    return Pretrained(full_name(config), network.preprocessing, network.layer, net, network.lens, compute)


def full_name(config: PretrainedConfig) -> str:
    """`dinov2-vits14@1a2b3c4d`, or `dinov2-vits14-unpublished@…` for another file than the published one.

    `inception2015`, alone, is the published Inception: only then may the distance be called FID.
    """
    network = NETWORKS[config.name]
    published = config.sha256 == network.sha256
    if config.name == "inception2015" and published:
        return config.name
    sha8 = sha256_json([config.sha256, network.preprocessing, network.layer])[:8]
    label = "inception" if config.name == "inception2015" else config.name
    return f"{label}@{sha8}" if published else f"{label}-unpublished@{sha8}"


def check_file(config: PretrainedConfig) -> Path:
    """The weights' path, if its bytes are those that params name. Raises ConfigError."""
    path, network = Path(config.weights).expanduser(), NETWORKS[config.name]
    if not path.is_file():
        raise ConfigError(
            f"{config.name}: {path} is not a file",
            expected="the weights (reference.pretrained, key weights)",
            remedy=f"download them from {network.url}, or take {config.name} out of reference.pretrained",
        )
    if (found := sha256_file(path)) != config.sha256:
        raise ConfigError(
            f"{config.name}: {path} has sha256 {found}",
            expected=f"{config.sha256} (reference.pretrained, key sha256)",
            remedy=f"set sha256 to it{' (the published one)' if found == network.sha256 else ' if you trust the file'}"
            ", or download the file again",
        )
    return path


def read_tensors(path: Path, name: str) -> State:
    """A file of tensors and nothing else: .safetensors, or what torch reads without executing. Raises ConfigError."""
    if is_torchscript(path):
        raise ConfigError(
            f"{name}: {path} is a TorchScript archive, and opening one executes the code in it",
            expected="a file of plain tensors",
            remedy=CONVERT.format(
                source=shlex.quote(str(path)), target=shlex.quote(str(path.with_suffix(".safetensors")))
            ),
        )
    state, cause = None, None
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make the readers fail in every way; torch's words advise to execute them
        cause = error
    if isinstance(state, Mapping) and state and all(isinstance(each, torch.Tensor) for each in state.values()):
        return state
    raise ConfigError(
        f"{name}: {path} is no file of plain weights: it is damaged, empty, or holds other things than tensors",
        expected="a state dict of tensors, as published (.pth), or .safetensors",
        remedy=f"take the published file, {NETWORKS[name].url}",
    ) from cause


def is_torchscript(path: Path) -> bool:
    """Whether it is what torch.jit.save writes; a damaged one is not, and the reader of tensors refuses it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):  # zipfile raises all three for damaged ones
        return False


def short(error: Exception) -> str:
    """An error's message on one line, cut where lists of keys go on and on."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 300 else f"{line[:300]} …"
