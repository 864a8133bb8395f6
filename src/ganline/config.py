"""params.yaml as one frozen, strict object: a section a stage. Presets are overlays on it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ganline.data.config import DataConfig, ManifestConfig, PrepareConfig, ValidateConfig
from ganline.errors import ConfigError
from ganline.evaluation.config import EvaluateConfig, ExtractorConfig, ReferenceConfig
from ganline.models.layers import stem_resolution
from ganline.registry.promotion import FloorsConfig
from ganline.training.config import TrainConfig

PARAMS = "params.yaml"


class RegisterConfig(BaseModel):
    """Name in the model registry, and the absolute floors that the first champion must pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    floors: FloorsConfig = FloorsConfig()


class TrackingConfig(BaseModel):
    """Who follows the trainer's log beside MLflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    tensorboard: bool = False


class Config(BaseModel):
    """All of params.yaml. `validate` and `register` are methods of pydantic's own: hence the underscores."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)
    data: DataConfig
    manifest: ManifestConfig
    validate_: ValidateConfig = Field(alias="validate")
    prepare: PrepareConfig
    extractor: ExtractorConfig
    reference: ReferenceConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    register_: RegisterConfig = Field(alias="register")
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def seeds_of_tuning_and_measuring_differ(self) -> Config:
        """The seed whose samples are watched while training must not be one that is measured."""
        if self.train.seed in self.evaluate.seeds:
            raise ValueError(f"evaluate.seeds holds train.seed ({self.train.seed}): measure with other seeds")
        return self


def check_resolution(config: Config) -> None:
    """Refuse a resolution that the model cannot paint before anything runs. Raises ConfigError."""
    if config.train.model.name != "mlp":
        stem_resolution(config.prepare.resolution)


def merge(base: Any, overlay: Any) -> Any:
    """Overlay wins. Mappings merge key by key, except variants: a mapping with another `name` replaces the base's."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    if (
        overlay.get("name", base.get("name")) != base.get("name")
        and not RegisterConfig.model_fields.keys() >= base.keys()
    ):
        return overlay
    return base | {key: merge(base.get(key), value) for key, value in overlay.items()}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises ConfigError if the file is missing or is something else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", remedy="run in the project's folder") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping", expected="sections such as `train:`")
    return content


def load_config(root: Path) -> Config:
    """params.yaml of a workspace. Raises ConfigError naming every wrong key and the valid ones."""
    return parse(read_yaml(root / PARAMS), source=PARAMS)


def parse(content: dict[str, Any], *, source: str) -> Config:
    """A merged mapping as Config."""
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(
            f"{source} is not valid:\n" + "\n".join(f"    {line}" for line in explain(error)),
            remedy=f"correct {source}; docs/configuration.md lists every key",
        ) from error
    check_resolution(config)
    return config


def explain(error: ValidationError) -> list[str]:
    """One line a mistake, in the words of the file."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "the whole"
        if item["type"] == "extra_forbidden":
            valid = valid_keys(item["loc"][:-1])
            near = difflib.get_close_matches(str(item["loc"][-1]), valid, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            lines.append(f"{where}: unknown key{hint}; valid here: {', '.join(valid)}")
        else:
            lines.append(f"{where}: {item['msg']}")
    return lines


def valid_keys(loc: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that the section at `loc` takes. In a union, `loc` names the variant by its tag."""
    kinds: list[type[BaseModel]] = [Config]
    for part in loc:
        tagged = [kind for kind in kinds if "name" in kind.model_fields and kind.model_fields["name"].default == part]
        kinds = tagged or [inner for kind in kinds for inner in models_in(fields_of(kind).get(str(part)))] or kinds
    return sorted({name for kind in kinds for name in fields_of(kind)})


def fields_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Key in the file -> annotation."""
    return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that an annotation (a model, a union, an optional) allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]
