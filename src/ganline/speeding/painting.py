"""The language model as something to paint with, token by token: the dials that a GAN in its place has not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import PARAMS, parse, read_yaml
from ganline.errors import GateError
from ganline.overlay import merge
from ganline.stages.places import CAPTIONS, LLM, PREPARE, TOKENIZER

if TYPE_CHECKING:
    from ganline.serving.generate import Generator

MAKE_ONE = "make one: `make speedup PRESET=speedup-tiny` makes .ganline/ws/speedup-tiny"


def language_model(root: Path, **drawing: Any) -> Generator:
    """The language model of a workspace, drawing tokens as `drawing` says (keys of `teacher:`; None: as configured).

    Raises GateError where none was trained, ConfigError for a value that is out of range.
    """
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.language.captions import Captions
    from ganline.serving.generate import Generator
    from ganline.stages.language import load_teacher

    if not root.is_dir():
        found = [str(each.parents[1]) for each in sorted(root.parent.glob(f"*/{LLM}"))]
        raise GateError(
            f"{root} is not a folder",
            expected="a workspace with a language model" + (f", such as {', '.join(found)}" if found else ""),
            remedy=f"name one, or {MAKE_ONE}",
        )
    for needed in (LLM, TOKENIZER, PREPARE, CAPTIONS):
        if not (root / needed).exists():
            raise GateError(
                f"{root} holds no {needed}",
                expected="a workspace with a language model",
                remedy=MAKE_ONE,
            )
    given = {"teacher": {key: value for key, value in drawing.items() if value is not None}}
    config = parse(merge(read_yaml(root / PARAMS), given), source="what was asked for")
    make_exact()
    compute, names = pick("fp32"), Prepared(root / PREPARE).labels
    teacher = load_teacher(config, root, compute)
    labels, known = (tuple(names) if teacher.num_classes else ()), Captions(root / CAPTIONS).prompts
    return Generator(teacher, labels=labels, prompts=known if teacher.prompt_dim else None, compute=compute)
