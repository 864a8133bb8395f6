"""What the quality stage adds for models that are told prompts: each form behind its encoder, and adherence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.stages.accelerating import ENCODER, studied
from ganline.stages.places import ACCELERATED, CAPTIONS

if TYPE_CHECKING:
    from ganline.data.loader import Split
    from ganline.devices import Compute
    from ganline.evaluation.features import FeatureExtractor
    from ganline.language.prompts import Prompts
    from ganline.models.spec import Generator

SEED = 8001


def prompts_by_form(config: Config, root: Path) -> dict[str, Prompts]:
    """Form -> the known prompts as the encoder of that form embeds them; empty where no student is told prompts."""
    from ganline.acceleration.encoding import open_encoder
    from ganline.language.captions import Captions
    from ganline.language.encoder import find_encoder

    if all(bundle.prompts is None for bundle in studied(config, root).values()):
        return {}
    prompts, encoder = Captions(root / CAPTIONS).prompts, find_encoder(config.captions.encoder)
    prompts.check_encoder(encoder.identity)
    small = open_encoder(encoder, root / ACCELERATED / ENCODER, "int8")
    embeddings = {kind: small(texts) for kind, texts in prompts.texts.items()}
    return {"float32": prompts, "int8": replace(prompts, embeddings=embeddings)}


def adherences(
    forms: Mapping[str, Generator],
    prompts: Mapping[str, Prompts],
    *,
    extract: FeatureExtractor,
    split: Split,
    num_classes: int,
    n: int,
    compute: Compute,
) -> dict[str, Any]:
    """Model -> adherence to prompts by kind of phrasing, of the `forms` that are told prompts (`MODEL/float32` and
    `MODEL/int8`, here `MODEL int8`), each behind the encoder in its form. Empty without classes."""
    from ganline.language.adherence import accuracy_by_class, measure_adherence

    if not extract.classifies or not num_classes or not prompts:
        return {}
    accuracy = accuracy_by_class(extract, split, num_classes)  # type: ignore[arg-type]
    told = {}
    for name, G in forms.items():
        model, form = name.split("/")
        if G.prompt_dim:
            told[model if form == "float32" else f"{model} {form}"] = measure_adherence(
                G,
                prompts[form],
                z_dim=G.z_dim,
                classify=extract,  # type: ignore[arg-type]
                accuracy=accuracy,
                compute=compute,
                seed=SEED,
                n=n,
            )
    return told
