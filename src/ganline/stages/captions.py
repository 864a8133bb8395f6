"""The stage that says what images are called: the prompts that models are trained on."""

from __future__ import annotations

import logging
from pathlib import Path

from ganline.config import Config
from ganline.files import fresh_folder
from ganline.stages.places import CAPTIONS, PREPARE

log = logging.getLogger(__name__)


def captions(config: Config, root: Path) -> None:
    """Measure attributes, write captions in several phrasings, embed each of them once."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact
    from ganline.language.captions import build_prompts, save_captions
    from ganline.language.encoder import find_encoder
    from ganline.language.prompts import TRAIN

    make_exact()
    encoder = find_encoder(config.captions.encoder)
    prompts, images = build_prompts(
        Prepared(root / PREPARE), encode=encoder, identity=encoder.identity, chosen=config.captions.attributes
    )
    save_captions(fresh_folder(root / CAPTIONS), prompts, images)
    known = int((prompts.support > 0).sum())
    log.info("captions: %d concepts, %d texts to train on, by %s", known, len(prompts.texts[TRAIN]), encoder.name)
