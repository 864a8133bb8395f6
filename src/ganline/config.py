"""params.yaml as one frozen, strict object: a section a stage. Presets are overlays on it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from ganline.data.config import DataConfig, ManifestConfig, PrepareConfig, ValidateConfig
from ganline.errors import ConfigError
from ganline.evaluation.config import EvaluateConfig, ExtractorConfig, ReferenceConfig, UsefulnessConfig
from ganline.language.config import (
    AccelerateConfig,
    BankConfig,
    CaptionsConfig,
    LlmConfig,
    QualityConfig,
    SpeedupConfig,
    StudentsConfig,
)
from ganline.language.sections import DrawingConfig, TokenizerConfig
from ganline.losses.config import AdaConfig
from ganline.models.config import stem_resolution
from ganline.registry.promotion import PromotionConfig
from ganline.schedules import Schedule
from ganline.sharing import without_userinfo
from ganline.training.config import TrainConfig

PARAMS = "params.yaml"
MAX_NAME = 200

Loc = tuple[int | str, ...]
# What may stand where a number may, as an example for the user.
SUCH_AS: dict[type[BaseModel], str] = {
    Schedule: " such as {start: 0.2, end: 0.02}",
    AdaConfig: " such as {target: 0.6, kimg: 500}",
}
NO_NUMBER = {"float_type", "float_parsing", "int_type", "int_parsing", "int_from_float", "model_type"}
IN_OUR_WORDS = {
    "Input is": "this is",
    "Input ": "",
    "a valid tuple": "a list",
    "Tuple": "list",
    " after validation": "",
    " for <class 'pathlib.Path'>": "",
}
MOST_SHOWN = 60


class RegisterConfig(BaseModel):
    """Where the model goes in the model registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The model's name in the registry."""

    @field_validator("name")
    @classmethod
    def name_fits_the_registry(cls, name: str) -> str:
        """The registry's column is 256 wide and holds the name of the lock of a promotion too: NAME.lock-TOKEN."""
        if len(name) > MAX_NAME:
            raise ValueError(f"the name has {len(name)} characters: at most {MAX_NAME}")
        if name.endswith(".lock"):
            raise ValueError(f"{name} is what the lock of another model's promotion is called: end it otherwise")
        return name


class TrackingConfig(BaseModel):
    """Who follows the trainer's log beside MLflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    tensorboard: bool = False
    """Also write TensorBoard events beside the trainer's logs."""


class Config(BaseModel):
    """All of params.yaml. `validate` and `register` are methods of pydantic's own: hence the underscores."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)
    data: DataConfig
    manifest: ManifestConfig
    validate_: ValidateConfig = Field(alias="validate")
    prepare: PrepareConfig
    extractor: ExtractorConfig
    judge: ExtractorConfig
    reference: ReferenceConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    usefulness: UsefulnessConfig = UsefulnessConfig()
    captions: CaptionsConfig = CaptionsConfig()
    tokenizer: TokenizerConfig
    llm: LlmConfig
    teacher: DrawingConfig = DrawingConfig()
    bank: BankConfig = BankConfig()
    students: StudentsConfig
    accelerate: AccelerateConfig = AccelerateConfig()
    quality: QualityConfig = QualityConfig()
    speedup: SpeedupConfig = SpeedupConfig()
    register_: RegisterConfig = Field(alias="register")
    promotion: PromotionConfig = PromotionConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def seeds_of_tuning_and_measuring_differ(self) -> Config:
        """Seeds that were looked at (while training, in reports) must not be those that decide."""
        if self.train.seed in self.evaluate.seeds:
            raise ValueError(f"evaluate.seeds holds train.seed ({self.train.seed}): measure with other seeds")
        if shared := {self.train.seed, *self.evaluate.seeds} & set(self.promotion.seeds):
            raise ValueError(
                f"promotion.seeds holds {min(shared)}, as train.seed or evaluate.seeds: decide with others"
            )
        return self

    @model_validator(mode="after")
    def guidance_was_learned(self) -> Config:
        if self.teacher.guidance != 1.0 and self.llm.unconditional_share == 0.0:
            raise ValueError("teacher.guidance needs a model that was also told nothing: raise llm.unconditional_share")
        return self

    @model_validator(mode="after")
    def seeds_of_the_study_differ(self) -> Config:
        """What students learned from, what chose among them and what confirms the choice are of different noise."""
        quality = self.quality
        if shared := set(quality.seeds) & set(quality.confirm_seeds):
            raise ValueError(f"quality.confirm_seeds holds {min(shared)}, as quality.seeds: confirm with others")
        if self.bank.seed in {*quality.seeds, *quality.confirm_seeds}:
            raise ValueError(f"bank.seed ({self.bank.seed}) is one of quality's seeds: measure with others")
        return self


def check_resolution(config: Config) -> None:
    """Refuse a resolution that the model cannot paint before anything runs. Raises ConfigError."""
    if config.train.model.name != "mlp":
        stem_resolution(config.prepare.resolution)


class UniqueKeys(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; this refuses them, as DVC does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader's. Raises ConstructorError for a key that stands twice."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises ConfigError if the file is missing or is something else."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)  # a SafeLoader: makes no objects
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", remedy="run in the project's folder") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}", remedy="correct it") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping", expected="sections such as `train:`")
    return content


def load_config(root: Path) -> Config:
    """params.yaml of a workspace. Raises ConfigError naming every wrong key and the valid ones."""
    return parse(read_yaml(root / PARAMS), source=PARAMS)


def parse(content: dict[str, Any], *, source: str) -> Config:
    """A merged mapping as Config."""
    for where, value in leaves(content):
        refuse_userinfo(where, value, source)
        refuse_boundless(where, value, source)
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(
            f"{source} is not valid:\n" + "\n".join(f"    {line}" for line in explain(error)),
            remedy=f"correct {source}; docs/configuration.md lists every key",
        ) from error
    check_resolution(config)
    return config


def leaves(content: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is neither a mapping nor a list."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(value, f"{where}.{key}".lstrip("."))
    else:
        yield where, content


def refuse_boundless(where: str, value: Any, source: str) -> None:
    """Raise ConfigError for a number without end or beyond 64 bits: somewhere in a run it would overflow."""
    is_float = isinstance(value, float) and not math.isfinite(value)
    if is_float or (isinstance(value, int) and abs(value) >= 2**63):
        raise ConfigError(
            f"{where} in {source} is {value}", expected="a finite number", remedy=f"correct {where} in {source}"
        )


def refuse_userinfo(where: str, value: Any, source: str) -> None:
    """Raise ConfigError if an address holds a user or password: params.yaml travels with every registered version."""
    if isinstance(value, str) and without_userinfo(value) != value:
        raise ConfigError(
            f"{where} in {source} holds an address with a user name or password (for {without_userinfo(value)})",
            expected="addresses without `user:password@`: the file travels with every registered version",
            remedy="name mirrors with a password in GANLINE_MIRROR, which stays in this process",
        )


def explain(error: ValidationError) -> list[str]:
    """One line a mistake, in the words of the file."""
    groups: dict[Loc, list[ErrorDetails]] = {}
    for item in error.errors():
        groups.setdefault(owner(item["loc"]), []).append(item)
    return [line for place, items in groups.items() for line in mistakes(place, items)]


def owner(loc: Loc) -> Loc:
    """Where the value stands that a mistake is about: a union (pydantic complains once a variant), else a mapping."""
    return next((loc[:i] for i in range(1, len(loc)) if is_open(read_loc(loc[:i])[1])), loc[:-1])


def mistakes(place: Loc, items: list[ErrorDetails]) -> list[str]:
    """The lines of one value; of a union, those of the variant that was meant."""
    where, annotation = read_loc(place)
    if is_open(annotation):
        value: Any = next((item["input"] for item in items if len(item["loc"]) == len(place) + 1), {})
        models = models_in(annotation)
        if isinstance(value, dict):
            meant = max(models, key=lambda kind: likeness(value, kind))
            items = [item for item in items if is_label(item["loc"][len(place)], meant)] or items
        else:
            items = [item for item in items if item["type"] not in NO_NUMBER]
            if not items:
                return [f"{where}: {shown(value)} is neither a number nor {' nor '.join(map(example, models))}"]
    missing = [item["loc"][-1] for item in items if item["type"] == "missing"]
    here = read_loc(items[0]["loc"][:-1])[0]
    lines = []
    for item in items:
        if item["type"] == "extra_forbidden":
            near = guess(item["loc"], missing)
            missing = [name for name in missing if name != near]  # one mistake: a key under another name
            lines.append(unknown_key(item["loc"], near))
        elif item["type"] != "missing":
            lines.append(message(item))
    return [*lines, *(f"{joined(here, name)} is missing" for name in missing)]


def message(item: ErrorDetails) -> str:
    """The line of a wrong value: what was found, what is allowed."""
    where, annotation = read_loc(item["loc"])
    found, text, kinds = item["input"], item["msg"], alternatives(annotation)
    names = [kind.model_fields["name"].default for kind in models_in(annotation) if "name" in kind.model_fields]
    match item["type"]:
        case "value_error":
            return f"{where}: {item['ctx']['error']}".removeprefix(": ")
        case "union_tag_not_found":
            return f"{where}.name is missing; one of: {', '.join(names)}"
        case "union_tag_invalid":
            return f"{where}.name: {one_of(found['name'], names)}"
        case "literal_error":
            return f"{where}: {one_of(found, [value for kind in kinds for value in get_args(kind)])}"
        case "model_type" | "model_attributes_type":
            text = "should be a mapping"
    for pydantic, ours in IN_OUR_WORDS.items():
        text = text.replace(pydantic, ours)
    text = text.split(", ")[0]
    return f"{where}: found {shown(found)}; {text[0].lower()}{text[1:]}"


def unknown_key(loc: Loc, near: int | str | None) -> str:
    """The line of a key that its mapping does not take, with those that it takes."""
    where, kind = read_loc(loc[:-1])
    takes = "valid here:"
    if len(loc) > 1 and len(alternatives(read_loc(loc[:-2])[1])) > 1:  # a variant
        name = kind.__name__
        takes = f"{kind.model_fields['name'].default if 'name' in kind.model_fields else with_article(name)} takes"
    return f"{where}: unknown key {loc[-1]}{hint(near)}; {takes} {', '.join(sorted(fields_of(kind)))}".removeprefix(
        ": "
    )


def guess(loc: Loc, missing: Sequence[int | str]) -> int | str | None:
    """The key that was meant by an unknown one: one that looks like it, or the only one that is missing."""
    near = difflib.get_close_matches(str(loc[-1]), fields_of(read_loc(loc[:-1])[1]), n=1)
    return near[0] if near else missing[0] if len(missing) == 1 else None


def one_of(found: Any, valid: Sequence[Any]) -> str:
    """That a value is none of the valid ones, with the closest of them."""
    near = difflib.get_close_matches(str(found), map(str, valid), n=1)
    return f"{shown(found)} is not valid{hint(*near)}; one of: {', '.join(map(str, valid))}"


def hint(near: int | str | None = None) -> str:
    """The name that may have been meant, in brackets."""
    return f" (did you mean {near}?)" if near else ""


def shown(value: Any) -> str:
    """A found value on one line, as the file has it; text in quotes."""
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=1000)
    text = text.removesuffix("\n...\n").strip()
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"


def example(kind: type[BaseModel]) -> str:
    """What stands for a model in a union with numbers."""
    return f"{with_article(kind.__name__).replace('Schedule', 'schedule')}{SUCH_AS.get(kind, '')}"


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def joined(where: str, part: int | str) -> str:
    """One step deeper: a key after a dot, a place in a list in brackets (the first is 0)."""
    return f"{where}[{part}]" if isinstance(part, int) else f"{where}.{part}".removeprefix(".")


def read_loc(loc: Loc) -> tuple[str, Any]:
    """The path in the file, and the annotation there. In pydantic's `loc`, unions add the variant: a tag or a type."""
    where = ""
    annotation: Any = Config
    for part in loc:
        kinds = alternatives(annotation)
        if len(kinds) > 1:
            annotation = next((kind for kind in models_in(annotation) if is_label(part, kind)), kinds[0])
            continue
        where, inner = joined(where, part), get_args(kinds[0])
        if is_model(kinds[0]):
            annotation = fields_of(kinds[0]).get(str(part))
        elif get_origin(kinds[0]) is dict:
            annotation = inner[1]
        else:
            annotation = inner[min(int(part), len(inner) - 1)] if inner and inner[-1] is not ... else (*inner, None)[0]
    return where, annotation


def is_open(annotation: Any) -> bool:
    """Whether an annotation is a union without a tag: a number, or a model such as Schedule."""
    kinds = alternatives(annotation)
    return len(kinds) > 1 and not all(is_model(kind) and "name" in kind.model_fields for kind in kinds)


def is_label(part: int | str, kind: type[BaseModel]) -> bool:
    """Whether pydantic means `kind` by a part of a loc: `Schedule`, `function-after[…, AdaConfig]`, or its tag."""
    tag = kind.model_fields["name"].default if "name" in kind.model_fields else None
    return part == tag or re.search(rf"\b{kind.__name__}\]*$", str(part)) is not None


def likeness(value: dict[str, Any], kind: type[BaseModel]) -> float:
    """How many keys of a mapping a model has, those that only look like one of its own included."""
    fields = fields_of(kind)
    return sum(1.0 if key in fields else 0.9 * len(difflib.get_close_matches(str(key), fields, n=1)) for key in value)


def is_key(dotted: str) -> bool:
    """Whether params.yaml may hold this key, such as `extractor.epochs`; of variants, any."""
    annotations: list[Any] = [Config]
    for part in dotted.split("."):
        kinds = [kind for annotation in annotations for kind in alternatives(annotation)]
        below = [fields_of(kind)[part] for kind in kinds if is_model(kind) and part in fields_of(kind)]
        annotations = below + [get_args(kind)[1] for kind in kinds if get_origin(kind) is dict]
    return bool(annotations)


def fields_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Key in the file -> annotation."""
    return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}


def alternatives(annotation: Any) -> list[Any]:
    """The members of a union but None, or the annotation itself."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for inner in get_args(annotation) if inner is not NoneType for kind in alternatives(inner)]
    return [annotation]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that an annotation (a model, a union, an optional) allows."""
    return [kind for kind in alternatives(annotation) if is_model(kind)]


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
