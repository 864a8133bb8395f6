"""Write docs/configuration.md from the configuration's own classes: `python docs/make_configuration.py`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ganline.config import Config, alternatives, is_model, is_open, models_in, parse
from ganline.overlay import merge
from ganline.training.config import TrainConfig

ROOT = Path(__file__).parents[1]
HEAD = """# Configuration

`params.yaml` has one section a stage; `presets/NAME.yaml` are overlays (`make run PRESET=NAME`). Unknown keys are
errors that name the valid ones. In an overlay, a mapping merges key by key; one whose `name`
differs (another source, another model) replaces the whole. A stage runs again when its own sections change.

`train.model(mlp).z_dim` is the key `z_dim` of `train.model` where its `name` is mlp. "default" is the code's, "here"
that of params.yaml. Made by `python docs/make_configuration.py` from the classes.
"""
EXAMPLES = {
    "Schedule": """# R1 falls on a straight line from 0.2 to 0.02, from a tenth of the budget on
train:
  objective: {r1_gamma: {start: 0.2, end: 0.02, shape: linear, after: 0.1}}
""",
    "AdaConfig": """# p starts at 0 and moves by 1 within 200,000 images at most
train:
  objective: {adversarial: non_saturating}
  augment: {p: {target: 0.6, kimg: 200}}
""",
}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "of at least"}
WORDS = {
    Any: "value",
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "path",
    NoneType: "null",
}
Row = tuple[str, str, str, str, str]


def rows(kind: type[BaseModel], prefix: str, here: Any) -> Iterator[Row]:
    """(key, type, default, value here, meaning) of every key below a section; sections inside it have a row too."""
    told = meanings(kind)
    for name, field in kind.model_fields.items():
        alias = field.alias or name
        key = f"{prefix}.{alias}".lstrip(".")
        value = here.get(alias) if isinstance(here, dict) else None
        inner = models_in(field.annotation)
        if not inner or is_open(field.annotation):
            present = isinstance(here, dict) and alias in here
            default = "required" if field.is_required() else in_yaml(field.get_default(call_default_factory=True))
            meaning = told.get(name) or field.description or (first_paragraph(kind) if is_tag(field) else "")
            yield key, in_words(field.annotation, field.metadata), default, in_yaml(value) if present else "", meaning
        elif (
            prefix and inner[1:] == [] and issubclass(inner[0], TrainConfig)
        ):  # every family again would bury what is new
            yield key, "section", "required", "", told.get(name) or ""
        elif len(inner) == 1:
            default = "null" if field.default is None else ""
            yield key, "section", default, "", told.get(name) or first_paragraph(inner[0])
            yield from rows(inner[0], key, value)
        else:
            for variant in inner:
                tag = variant.model_fields["name"].default
                same = isinstance(value, dict) and value.get("name") == tag
                yield from rows(variant, f"{key}({tag})", value if same else None)


def meanings(kind: type[BaseModel]) -> dict[str, str]:
    """Field -> the string literal below it, those of parent classes included."""
    found: dict[str, str] = {}
    for owner in reversed([owner for owner in kind.__mro__ if is_model(owner) and owner is not BaseModel]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, below in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


def first_paragraph(kind: type[BaseModel]) -> str:
    """What a class is, on one line."""
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def is_tag(field: FieldInfo) -> bool:
    """Whether a field names its variant: a Literal of one word."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def in_words(annotation: Any, metadata: list[Any]) -> str:
    """An annotation in words; `metadata` holds limits that pydantic has taken off it."""
    if get_origin(annotation) is Annotated:
        plain, *more = get_args(annotation)
        return in_words(plain, [*metadata, *(limit for field in more for limit in getattr(field, "metadata", [field]))])
    members = get_args(annotation)
    if get_origin(annotation) is dict:
        return f"name to {in_words(members[1], [])}"
    if get_origin(annotation) is Literal:
        return either([in_yaml(value) for value in members])
    if get_origin(annotation) is tuple:
        if members[-1] is ...:
            plural = in_words(members[0], []).replace("number", "numbers")
            return f"list of {plural}{limits(metadata).replace(' of', ',')}"
        return f"pair [{', '.join(in_words(member, []) for member in members)}]"
    if members:
        return either([in_words(member, metadata if member in (int, float) else []) for member in members])
    return f"{WORDS.get(annotation) or annotation.__name__}{limits(metadata)}"


def either(words: list[str]) -> str:
    """a, b or c."""
    return " or ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def limits(metadata: list[Any]) -> str:
    """ " in [0, 1)", " > 0", " of at least 3", or nothing."""
    found = {name: getattr(item, name, None) for name in SIGNS for item in metadata if hasattr(item, name)}
    bound = {name: int(value) if value == int(value) else value for name, value in found.items() if value is not None}
    low, high = bound.keys() & {"ge", "gt"}, bound.keys() & {"le", "lt"}
    if low and high:
        start = f"[{bound['ge']}" if "ge" in bound else f"({bound['gt']}"
        return f" in {start}, " + (f"{bound['le']}]" if "le" in bound else f"{bound['lt']})")
    return "".join(f" {SIGNS[name]} {value}" for name, value in bound.items())


def in_yaml(value: Any) -> str:
    """A value as the file would have it."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=1000).strip().removesuffix("\n...")


def page() -> str:
    """The whole page."""
    here = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    lines = [HEAD]
    others: dict[type[BaseModel], str] = {}  # each is listed once, at the end
    for name, field in Config.model_fields.items():
        section = field.alias or name
        kinds = models_in(field.annotation)
        for kind in kinds:
            tag = kind.model_fields["name"].default if len(kinds) > 1 else None
            title, found = f"{section}({tag})" if tag else section, here.get(section)
            lines += table(title, kind, title, found if tag in (None, (found or {}).get("name")) else None)
            others.update(without_rows(kind))
    for kind, place in others.items():
        lines += table(f"{kind.__name__}, {place}", kind, "", None)
        if example := EXAMPLES.get(kind.__name__):
            parse(merge(here, yaml.safe_load(example)), source=f"the example of {kind.__name__}")
            lines += ["```yaml", example.strip(), "```", ""]
    return "\n".join(lines)


def without_rows(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The models below a section that have no rows in it, and where they stand."""
    for kind in alternatives(annotation):
        if is_model(kind):
            if is_open(annotation):
                yield kind, "where a number may stand"
            for field in kind.model_fields.values():
                yield from without_rows(field.annotation)
        else:
            for member in get_args(kind):
                if is_model(member):
                    yield member, "an entry of a list or mapping"
                yield from without_rows(member)


def table(title: str, kind: type[BaseModel], prefix: str, here: Any) -> list[str]:
    """Lines of one section: heading, docstring, a row a key."""
    head = ["| key | type | default | here | meaning |", "|---|---|---|---|---|"]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in rows(kind, prefix, here))
    body = ["| `{}` | {} | {} | {} | {} |".format(*row) for row in cells]
    return [f"## {title}", "", inspect.getdoc(kind) or "", "", *head, *body, ""]


if __name__ == "__main__":
    (ROOT / "docs" / "configuration.md").write_text(page(), encoding="utf-8")
