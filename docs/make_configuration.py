"""Write docs/configuration.md from the configuration's own classes: `python docs/make_configuration.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ganline.config import Config, models_in

ROOT = Path(__file__).parents[1]
HEAD = """# Configuration

`params.yaml` has one section a stage; `presets/NAME.yaml` are overlays (`make run PRESET=NAME`). Unknown keys are
errors that name the valid ones. In an overlay, a mapping merges key by key; one whose `name`
differs (another source, another model) replaces the whole. A stage runs again when its own sections change.

Made by `python docs/make_configuration.py` from the classes; "default" is the code's, "here" that of params.yaml.
"""


VALUES: dict[type[BaseModel], None] = {}  # what may stand where a number may; each is listed once, at the end


def is_a_number_too(annotation: Any) -> bool:
    """Whether a union of models allows a plain number."""
    return annotation is float or any(is_a_number_too(inner) for inner in get_args(annotation))


def rows(kind: type[BaseModel], prefix: str, here: Any) -> Iterator[tuple[str, str, str, str]]:
    """(key, type, default, value here) of every leaf below a section."""
    for name, field in kind.model_fields.items():
        key = f"{prefix}.{field.alias or name}".lstrip(".")
        value = here.get(field.alias or name) if isinstance(here, dict) else None
        inner = models_in(field.annotation)
        if inner and is_a_number_too(field.annotation):
            VALUES.update(dict.fromkeys(inner))
            yield key, " or ".join(["number", *(kind.__name__ for kind in inner)]), str(field.default), str(value or "")
        elif len(inner) == 1:
            yield from rows(inner[0], key, value)
        elif inner:
            for variant in inner:
                tag = str(variant.model_fields["name"].default)
                same = isinstance(value, dict) and value.get("name") == tag
                yield from rows(variant, f"{key}({tag})", value if same else None)
        else:
            default = "" if field.default is PydanticUndefined and field.default_factory is None else str(field.default)
            yield key, type_name(field.annotation), default, "" if value is None else str(value)


def type_name(annotation: Any) -> str:
    """The type as a reader of YAML would say it."""
    text = inspect.formatannotation(annotation)
    text = re.sub(r"typing\.|pathlib\.|ganline\.[\w.]*\.", "", text)
    return text.replace("Literal", "").replace("|", "or")


def page() -> str:
    """The whole page."""
    here = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    lines = [HEAD]
    for name, field in Config.model_fields.items():
        section = field.alias or name
        (kind,) = models_in(field.annotation)
        lines += table(section, kind, section, here.get(section))
    for kind in list(VALUES):
        lines += table(f"{kind.__name__}, where a number may stand", kind, "", None)
    return "\n".join(lines)


def table(title: str, kind: type[BaseModel], prefix: str, here: Any) -> list[str]:
    """Lines of one section: heading, docstring, a row a key."""
    head = [f"## {title}", "", inspect.getdoc(kind) or "", "", "| key | type | default | here |", "|---|---|---|---|"]
    return [*head, *("| `{}` | {} | {} | {} |".format(*row) for row in rows(kind, prefix, here)), ""]


if __name__ == "__main__":
    (ROOT / "docs" / "configuration.md").write_text(page(), encoding="utf-8")
