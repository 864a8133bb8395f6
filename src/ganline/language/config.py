"""The params sections of language models and prompts."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ganline.language.sections import LlamaSize
from ganline.overlay import merge
from ganline.schedules import Schedule, Value, is_on
from ganline.training.config import TrainConfig

HEAD = 16
"""Lengths of attention heads that ONNX Runtime's fused attention takes are multiples of this."""
TAKEN = ("teacher", "real", "encoder")
"""Names that figures have beside the ways'."""


def distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds:
        raise ValueError("no seed stands there")
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands there twice: equal seeds give equal images, which are no further evidence")
    return seeds


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], AfterValidator(distinct)]


class EncoderConfig(BaseModel):
    """A sentence encoder that lies on this machine, as sentence-transformers and transformers save them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    """The folder, as sentence-transformers or transformers saves it, with one model.safetensors."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Checksum of its model.safetensors."""


class CaptionsConfig(BaseModel):
    """What images are called: the prompts that models are trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    encoder: EncoderConfig | None = None
    """What turns a prompt into numbers; null: the packaged all-MiniLM-L6-v2."""
    attributes: tuple[str, ...] | None = None
    """Measured attributes beside the class, of brightness, light (of a whole picture), size, contrast, colourfulness,
    thickness, slant; null: those that suit the data set."""


class LlmConfig(BaseModel):
    """The language model and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int = Field(default=0, ge=0)
    """Decides initial weights, the order of images and every draw."""
    total_kimg: float = Field(gt=0.0)
    """The budget: images whose tokens are read, in thousands."""
    batch: int = Field(default=64, ge=2)
    """Images of one update, over all ranks."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of passes: auto is bf16 where it is fast."""
    compile: bool = False
    """Let torch.compile make passes faster where it finds a compiler: half as fast again on two cores."""
    size: LlamaSize = LlamaSize()
    """Widths of the network."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each branch's outputs that is dropped while training."""
    lr: Value = Schedule(start=2e-3, end=1e-4)
    """Learning rate of AdamW."""
    warmup_share: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Share of the budget in which the learning rate rises from zero."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the first and the second moment."""
    weight_decay: float = Field(default=0.1, ge=0.0)
    """Decoupled weight decay of matrices."""
    ema_halflife_share: float = Field(default=0.02, gt=0.0)
    """Images in which half of the moving average of the weights is forgotten, as a share of the budget."""
    unconditional_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of images that are learned without a condition: what guidance needs."""
    prompt_share: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Share of images that are learned from a caption's embedding instead of their class."""
    tick_kimg: float = Field(default=2.0, gt=0.0)
    """Between two lines of the log."""
    val_every_share: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of the budget between two looks at the validation split."""
    checkpoint_seconds: float = Field(default=20.0, ge=0.0)
    """Between two checkpoints, at least."""

    @property
    def total_nimg(self) -> int:
        return round(self.total_kimg * 1000)

    @model_validator(mode="after")
    def it_can_be_trained_and_exported(self) -> LlmConfig:
        if self.unconditional_share + self.prompt_share >= 1.0:
            raise ValueError("unconditional_share and prompt_share leave no image for classes: lower one of them")
        if (depth := self.size.width // self.size.heads) % HEAD:
            raise ValueError(f"size: heads are {depth} long; ONNX Runtime wants multiples of {HEAD}: change size.heads")
        return self


class BankConfig(BaseModel):
    """The teacher's images that students learn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    n: int = Field(default=50_000, ge=64)
    """How many images."""
    seed: int = Field(default=3001, ge=0)
    """Seed of their noise and labels: no seed that anything is measured with."""


class WayConfig(BaseModel):
    """One way to put a GAN in the language model's place: what differs from `students.train`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    what: str
    """The way in words, for the report."""
    reals: Literal["data", "bank", "both"] = "data"
    """What D takes for real: training images, the teacher's bank, or both, each as often as it has images."""
    pair_weight: Value = 0.0
    """Weight of the regression to the teacher's images of the same noise."""
    prompts: bool = False
    """Whether G is told prompts in place of labels."""
    train: dict[str, Any] = {}
    """Keys of `students.train` that differ, such as {model: {g_width: 48}}."""
    mixture: bool = False
    """Whether the student is the mixture of its trainings of all seeds: each image is painted by one of them."""
    seeds: Seeds | None = None
    """Training seeds; null: those of `students`."""


class StudentsConfig(BaseModel):
    """GANs that are to do what the language model does, in one pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seeds: Seeds = (0, 1, 2)
    """Training seeds of every way; its first one, or the mixture of all, goes through the whole study."""
    at_once: int | None = Field(default=None, ge=1)
    """How many learn side by side, on one thread each; null: one a core, and on a GPU one."""
    train: TrainConfig
    """What all ways have in common: as the section `train`, but that z is as long as the teacher has tokens."""
    ways: dict[str, WayConfig]
    """Name -> way."""

    @field_validator("ways")
    @classmethod
    def names_are_plain(cls, ways: dict[str, WayConfig]) -> dict[str, WayConfig]:
        for name in ways:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in TAKEN:
                raise ValueError(
                    f"{name} cannot name a way: lower-case letters, digits and _, but not {' or '.join(TAKEN)}"
                )
        if all(way.prompts for way in ways.values()):
            raise ValueError("the headline needs a way that is told classes or nothing: name one without prompts")
        return ways

    @model_validator(mode="after")
    def every_way_is_a_training(self) -> StudentsConfig:
        if is_on(self.train.objective.pair_weight):
            raise ValueError("train.objective.pair_weight is a way's own: set ways.NAME.pair_weight")
        if self.train.seed or self.train.init_from:
            raise ValueError("train.seed and train.init_from decide nothing: set seeds; students begin from nothing")
        for name, way in self.ways.items():
            if given := {"seed", "init_from"} & way.train.keys():
                raise ValueError(f"ways.{name}.train.{min(given)} decides nothing: its seeds are in ways.{name}.seeds")
            try:
                section = self.training(name, self.seeds_of(name)[0])
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise ValueError(f"ways.{name} is no training: {where}: {first['msg']}") from error
            if way.mixture and len(self.seeds_of(name)) == 1:
                raise ValueError(f"ways.{name} is a mixture of one training: give it more seeds, or no mixture")
            if is_on(way.pair_weight) and "z_dim" in (way.train.get("model") or {}):
                raise ValueError(f"ways.{name} is paired with the language model's noise: its z_dim follows from that")
            if way.prompts and not getattr(section.model, "class_conditional", True):
                raise ValueError(f"ways.{name} is told prompts, which name classes: set model.class_conditional")
            if way.prompts and (way.reals != "data" or is_on(way.pair_weight)):
                raise ValueError(f"ways.{name} is told prompts: only real images have captions (reals: data, no pairs)")
        for one, other in combinations(self.ways, 2):
            if self.learns(one) == self.learns(other) and set(self.seeds_of(one)) & set(self.seeds_of(other)):
                raise ValueError(f"ways.{one} and ways.{other} are one training of one seed: leave one out")
        return self

    def learns(self, name: str) -> dict[str, Any]:
        """What decides a way's weights beside its seed."""
        return self.ways[name].model_dump(include={"reals", "prompts"}) | self.training(name, 0).model_dump()

    def seeds_of(self, way: str) -> tuple[int, ...]:
        return self.ways[way].seeds or self.seeds

    def training(self, name: str, seed: int, *, z_dim: int = 1, prompt_dim: int = 1) -> TrainConfig:
        """The `train` section of one student: its z is as long as its teacher's noise, one number a token, unless the
        way itself says otherwise."""
        way = self.ways[name]
        section = merge(self.train.model_dump(), way.train | {"seed": seed})
        model, objective = section["model"], section["objective"]
        if isinstance(model, dict) and isinstance(objective, dict):
            given = {"z_dim": z_dim} | way.train.get("model", {}) | ({"prompt_dim": prompt_dim} if way.prompts else {})
            section["model"] = model | given
            section["objective"] = objective | {"pair_weight": way.pair_weight}
        return TrainConfig.model_validate(section)


class AccelerateConfig(BaseModel):
    """The ONNX forms of teacher and students."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    calibration: int = Field(default=256, ge=16)
    """Images whose passes set the ranges of int8 activations."""


class QualityConfig(BaseModel):
    """How teacher, students and their int8 forms are measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seeds: Seeds = Field(default=tuple(range(4001, 4011)), min_length=2)
    """Seeds of latents; figures are mean and 95 % interval over them."""
    n: int = Field(default=5000, ge=16)
    """Images of each seed."""
    confirm_seeds: Seeds = Field(default=tuple(range(4901, 4906)), min_length=2)
    """Seeds from which every form's distances are measured once more, to real images that no other distance reads:
    those of the reference behind the first n. Nothing is told where it holds fewer than twice n."""
    memorisation_n: int = Field(default=500, ge=2)
    """Images of each seed that are compared with every training image."""
    ablation_seeds: int = Field(default=3, ge=2)
    """How many of the seeds the students of further training seeds are measured with."""
    adherence_n: int = Field(default=2000, ge=16)
    """Images that adherence to prompts is measured on, of each kind of phrasing."""


class SpeedupConfig(BaseModel):
    """How times are measured: `ganline speedup`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    threads: int = Field(default=1, ge=1)
    """Threads of every variant at `batch`; a single image always has one."""
    batch: int = Field(default=64, ge=2)
    """Images at once for throughput."""
    rounds: int = Field(default=200, ge=5)
    """Rounds over all variants, at most."""
    seconds: float = Field(default=180.0, gt=0.0)
    """Time for all rounds together, at most."""
    race: int = Field(default=12, ge=1)
    """Images that the race page plays."""
