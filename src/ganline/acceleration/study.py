"""What the speed-up study found, as plain data: the study fills it, the page and MLflow read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["teacher", "student"]
FORMS = ("eager", "compiled", "onnx", "int8")
"""torch as it is; torch.compile; ONNX Runtime in float32; ONNX Runtime with int8 weights and activations."""

EQUAL_PIXELS = "equal_pixels"
SETTLED = "milliseconds before times count"
"""In a study's protocol: how long a form runs in its turn before its times count."""


@dataclass(frozen=True)
class Timing:
    """Times of one variant: from noise and condition to uint8 pixels, the tokenizer's decoder included.

    Milliseconds, medians: `p50_ms` (and p95) of passes one after another; `first_ms` of first passes after other forms
    had their turn (caches are then cold); `early_ms` of the five that follow the first, which studies before the tenth
    called p50. `throughput` in images a second at batch `batch`; `cold_ms` with libraries loaded: opening or compiling,
    and the first image.
    """

    p50_ms: float
    p95_ms: float
    first_ms: float
    early_ms: float
    throughput: float
    batch: int
    cold_ms: float
    rounds: int
    batch_rounds: int


@dataclass(frozen=True)
class Variant:
    """One model in one form."""

    model: str
    """`teacher`, or a student's way: `s1`, `s2`, …"""
    kind: Kind
    form: str
    timing: Timing
    quality: Mapping[str, Any]
    """The panel's records of this form's numbers: key -> record with name, value, interval, floor, n, seeds."""
    num_bytes: int
    macs: int
    """Multiply-accumulates of one image."""

    @property
    def name(self) -> str:
        return f"{self.model} {self.form}"


@dataclass(frozen=True)
class Study:
    """Everything of one study. Mappings hold records as the panel makes them, or plain figures with their unit."""

    dataset: str
    labels: tuple[str, ...]
    resolution: int
    channels: int
    machine: Mapping[str, Any]
    protocol: Mapping[str, Any]
    """threads, rounds, batch, temperature, top_k, guidance, n, seeds, split, versions."""
    variants: tuple[Variant, ...]
    failed: Mapping[str, str]
    """Variant -> why there is no figure of it here."""
    ablation: Mapping[str, Any]
    """Way -> {what, seeds (training), fd: {per_seed, value, std, interval}, label_accuracy: …, images_seen}."""
    tokenizer: Mapping[str, Any]
    """name, num_tokens, vocab, and the reconstruction's records: the ceiling of the teacher."""
    language: Mapping[str, Any]
    """parameters, nats_per_token, nats_per_dim, baselines, kimg, and the gap to the tokenizer's ceiling."""
    likelihood: Mapping[str, Any]
    """Teacher's nats per token of re-tokenised images: way -> {nats_per_token, class_entropy}, `real`, `teacher`."""
    bank: Mapping[str, Any]
    """n, and the seconds that making it took."""
    prompts: Mapping[str, Any]
    """encoder's times, path's times, adherence of teacher and student; empty where there are no prompts."""
    between: Mapping[str, Any]
    """Student -> records of its distance to the teacher's images."""
    parity: Mapping[str, Any] = field(default_factory=dict)
    """Model -> form -> how far its numbers are from torch's in float32; `equal_pixels`: the share that is the same."""
    verdict: Mapping[str, Any] = field(default_factory=dict)
    """Ratios at equal quality, and what fresh real images say of them: see acceleration/ratios.py."""

    @property
    def headline(self) -> Mapping[str, Any]:
        """The pair that the page is about: of equal quality, else by the first extractor alone, else the nearest."""
        return next(filter(None, map(self.verdict.get, ("equal", "nearer", "best"))), {})

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
