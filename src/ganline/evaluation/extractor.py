"""The feature extractor: a small frozen network trained on the real training split, named by what it is.

Its identity is the hash of weights, preprocessing and layer: another extractor is another metric.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganline.data.loader import Batches, Prepared, Split, rows_as_tensor
from ganline.devices import Compute
from ganline.errors import BundleError, GateError
from ganline.evaluation.config import ExtractorConfig
from ganline.files import fresh_folder, read_json, sha256_json, write_bytes, write_json
from ganline.images import to_network

log = logging.getLogger(__name__)

PREPROCESSING = "uint8 / 127.5 - 1, no resize"
LAYER = "penultimate, after ReLU"


class FeatureNet(nn.Module):
    """Three strided convolution stages, a feature layer and a classifier. Image in [-1, 1] -> logits and features."""

    def __init__(
        self, *, channels: int, resolution: int, width: int, feature_dim: int, num_classes: int, kernel: int = 3
    ):
        super().__init__()

        def stage(a: int, b: int, stride: int) -> list[nn.Module]:
            convolution = nn.Conv2d(a, b, kernel, stride=stride, padding=kernel // 2, bias=False)
            return [convolution, nn.BatchNorm2d(b), nn.ReLU()]

        halvings = max(2, round(math.log2(resolution / 7)))
        layers, size = [*stage(channels, width, 1)], width
        for _ in range(halvings):
            grown = min(size * 2, width * 4)
            layers += stage(size, grown, 2)
            size = grown
        side = math.ceil(resolution / 2**halvings)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(size * side**2, feature_dim), nn.ReLU())
        self.head = nn.Linear(feature_dim, num_classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(images)
        return self.head(features), features


class PerChannel(nn.Module):
    """One grey FeatureNet for every colour channel apart: image [N, C, H, W] -> joint logits and features.

    Logits [N, K^C] are the channels' log-probabilities, summed for every combination of classes, first channel slowest:
    their argmax combines the channels' own, and cross-entropy on them is the sum of the channels' (label smoothing
    included: the mean over combinations of a sum is the sum of the means). Features [N, C * F] stand side by side.
    """

    def __init__(self, net: FeatureNet):
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        n, channels = images.shape[:2]
        logits, features = self.net(images.flatten(0, 1).unsqueeze(1))
        own = logits.float().log_softmax(1).unflatten(0, (n, channels))
        joint = own[:, 0]
        for channel in range(1, channels):
            joint = (joint[:, :, None] + own[:, channel, None]).flatten(1)
        return joint, features.reshape(n, -1)


def build_net(task: str, options: dict[str, Any]) -> nn.Module:
    """The network of a task, with random weights."""
    net = FeatureNet(**options)
    return PerChannel(net) if task == "channels" else net


def folded(net: nn.Module) -> nn.Module:
    """The network with each BatchNorm folded into the convolution before it: the same function, a fifth faster."""
    inner = net.net if isinstance(net, PerChannel) else net
    assert isinstance(inner, FeatureNet)
    layers = list(inner.body)
    for i, (convolution, norm) in enumerate(pairwise(layers)):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    inner.body = nn.Sequential(*layers)
    return net


class Extractor:
    """A frozen FeatureNet with its name, e.g. `classifier_fashion-mnist@1a2b3c4d`."""

    def __init__(self, net: nn.Module, meta: dict, compute: Compute):
        self.meta, self.compute = meta, compute
        self.net = compute.place(net).eval().requires_grad_(False)
        self.name: str = meta["name"]
        self.classifies: bool = meta["task"] in ("classifier", "channels")

    @classmethod
    def load(cls, folder: Path, compute: Compute) -> Extractor:
        """Open a stage's folder; raises BundleError if the weights are not those that the name was made from."""
        meta = read_json(folder / "extractor.json")
        state = load_file(folder / "extractor.safetensors")
        if identity(state) != meta["sha8"]:
            raise BundleError(f"{folder} holds other weights than {meta['name']}", remedy="run `dvc repro extractor`")
        net = build_net(meta["task"], meta["net"])
        net.load_state_dict(state)
        return cls(folded(net.eval()), meta, compute)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [N, C, H, W] -> features float32 [N, F] and logits float32 [N, K] on the device; always in fp32."""
        logits, features = self.net(to_network(images.to(self.compute.device)).contiguous())
        return features.float(), logits.float()


def identity(state: dict[str, torch.Tensor]) -> str:
    """First eight hex digits of the sha256 of weights, preprocessing and layer."""
    weights = hashlib.sha256(save(dict(sorted(state.items())))).hexdigest()
    return sha256_json([weights, PREPROCESSING, LAYER])[:8]


def train_extractor(
    prepared: Prepared, config: ExtractorConfig, out: Path, compute: Compute, *, section: str = "extractor"
) -> dict:
    """Train, gate on validation accuracy, freeze and name. Raises GateError below `min_accuracy`.

    `section` is that of params.yaml which `config` is.
    """
    task = ("classifier" if len(prepared.labels) > 1 else "rotation") if config.task == "auto" else config.task
    rotation = task == "rotation"
    if not rotation and len(prepared.labels) < 2:
        raise GateError(
            f"{prepared.name} has {len(prepared.labels)} labels: a classifier cannot be trained",
            remedy=f"set {section}.task: rotation (self-supervised)",
        )
    channels, num_classes = prepared.channels, 4 if rotation else len(prepared.labels)
    if task == "channels":
        channels, num_classes = 1, len(channel_classes(prepared.labels, channels=prepared.channels))
    shape = {"channels": channels, "resolution": prepared.resolution}
    net_options = shape | {"width": config.width, "feature_dim": config.feature_dim, "num_classes": num_classes}
    net_options |= {"kernel": config.kernel}
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = compute.place(build_net(task, net_options))
    fit(net, prepared.split("train"), config, compute, rotation=rotation)
    accuracy = validation_accuracy(net.eval(), prepared.split("val"), compute, rotation=rotation)
    log.info("%s: %s accuracy %.4f on the validation split", section, task, accuracy)
    if accuracy < config.min_accuracy:
        raise GateError(
            f"the {task} accuracy of {section} is {accuracy:.4f} on the validation split",
            expected=f"at least {config.min_accuracy} ({section}.min_accuracy)",
            remedy=f"train longer ({section}.epochs), or look at the data: its labels may be wrong",
        )
    state = {name: t.detach().cpu().contiguous(memory_format=torch.contiguous_format)
             for name, t in net.state_dict().items()}  # fmt: skip
    sha8 = identity(state)
    meta = {
        "name": f"{task}_{prepared.name}@{sha8}",
        "sha8": sha8,
        "task": task,
        "net": net_options,
        "preprocessing": PREPROCESSING,
        "layer": LAYER,
        "validation_accuracy": accuracy,
        "num_validation": len(prepared.split("val")),
    }
    fresh_folder(out)
    write_bytes(out / "extractor.safetensors", save(dict(sorted(state.items()))))
    write_json(out / "extractor.json", meta)
    return meta


def channel_classes(labels: Sequence[str], *, channels: int) -> str:
    """The classes of one channel: the characters that labels are made of, one a channel. Raises GateError.

    Labels must be all combinations, first channel slowest ("00", "01", "10", "11" of "01"), as PerChannel's logits are.
    """
    characters = "".join(sorted(set("".join(labels))))
    complete = len(labels) == len(characters) ** channels
    if not complete or list(labels) != ["".join(each) for each in product(characters, repeat=channels)]:
        raise GateError(
            f"{len(labels)} labels such as {', '.join(labels[:3])} do not name a class for each channel",
            expected=f"all combinations of {channels} characters, one a channel, such as 000 to 999",
            remedy="set extractor.task: classifier (or judge.task, if its training stopped)",
        )
    return characters


def fit(net: nn.Module, split: Split, config: ExtractorConfig, compute: Compute, *, rotation: bool) -> None:
    """Cross-entropy with Adam and a one-cycle learning rate, for `epochs` passes."""
    batches = Batches(split, batch=config.batch, seed=config.seed, mirror=False, device=compute.device)
    steps = max(1, round(config.epochs * len(split) / config.batch))
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps)
    report_every = max(1, steps // 5)
    for k in range(steps):
        images, labels = batches.get(k)
        if rotation:
            images, labels = rotate_all(images)
        with compute.precision():
            logits, _ = net(images)
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (k + 1) % report_every == 0:
            log.info("step %d of %d, loss %.3f", k + 1, steps, loss.item())


def rotate_all(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the k-th quarter of the batch by k right angles: images and the angle's index."""
    quarters = images.chunk(4)
    turned = torch.cat([torch.rot90(part, k, dims=(2, 3)) for k, part in enumerate(quarters)])
    angle = torch.cat([torch.full((len(part),), k, device=images.device) for k, part in enumerate(quarters)])
    return turned.contiguous(memory_format=torch.channels_last), angle


@torch.inference_mode()
def validation_accuracy(net: nn.Module, split: Split, compute: Compute, *, rotation: bool) -> float:
    """Share of the validation split that the network names rightly."""
    right = total = 0
    for start in range(0, len(split), 256):
        images = to_network(rows_as_tensor(split, start, start + 256).to(compute.device))
        labels = torch.from_numpy(split.labels[start : start + 256]).to(compute.device)
        if rotation:
            images, labels = rotate_all(images)
        right += int((net(images)[0].argmax(1) == labels).sum())
        total += len(labels)
    return right / max(total, 1)
