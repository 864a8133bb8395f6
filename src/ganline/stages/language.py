"""Stages of the language model: tokenizer, llm, bank."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.errors import BundleError, TrainingError
from ganline.files import atomic_folder, fresh_folder, read_json, sha256_json, write_json
from ganline.lineage import LANGUAGE_ROOMS, TRAINING_ROOMS, recipe_of
from ganline.stages.places import BANK, CAPTIONS, LLM, PREPARE, TOKENIZER
from ganline.stages.training import only_writer, trained, work_folder

if TYPE_CHECKING:
    import numpy as np

    from ganline.data.loader import Prepared
    from ganline.devices import Compute
    from ganline.language.teacher import Teacher
    from ganline.language.tokenizers import Tokenizer

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
WORDS = ("language/captions.py", "language/prompts.py")


def tokenizer(config: Config, root: Path) -> None:
    """Fit or train the tokenizer, and encode every image. Raises TrainingError if its tokens tell nothing."""
    import numpy as np

    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.language.tokenizers import encode_split, explained, save_tokenizer
    from ganline.models import ImageSpec

    make_exact()
    compute, prepared, folder = pick("fp32"), Prepared(root / PREPARE), root / TOKENIZER
    image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
    fitted = compute.place(fitted_tokenizer(config, root, prepared, image))
    tokens = {name: encode_split(fitted, prepared.split(name), compute) for name in SPLITS}
    codes = used_codes(tokens["train"], fitted.vocab)
    codes["explained"] = explained(fitted, prepared.split("val"), tokens["val"], compute)
    told = f"as if of {codes['perplexity']:.0f} codes used evenly, {codes['explained']:.1%} of the variance kept"
    log.info("tokenizer: %d tokens, %s", fitted.num_tokens, told)
    if codes["explained"] <= 0:
        raise TrainingError(
            f"the tokenizer learned nothing: {told}",
            expected="reconstructions nearer to the validation images than their mean image is",
            remedy="train it longer (tokenizer.train.total_kimg) or from another seed, or set tokenizer.name: kmeans",
        )
    save_tokenizer(fitted, config.tokenizer, image, folder)
    for name, each in tokens.items():
        np.save(folder / f"{name}_tokens.npy", each)
    write_json(folder / "codes.json", codes)


def used_codes(tokens: np.ndarray, vocab: int) -> dict[str, Any]:
    """How many of `vocab` codes int tokens [N, T] use, and exp of the entropy of their shares."""
    import numpy as np

    counts = np.bincount(tokens.ravel().astype(np.int64), minlength=vocab)
    share = counts[counts > 0] / counts.sum()
    return {"used": len(share), "perplexity": float(np.exp(-(share * np.log(share)).sum()))}


def fitted_tokenizer(config: Config, root: Path, prepared: Prepared, image: Any) -> Tokenizer:
    """The configured tokenizer with its weights, its codes in order."""
    from ganline.language.sections import KMeansConfig, VQTokenizerConfig
    from ganline.language.tokenizers import build_tokenizer, fit_means, order_codes
    from ganline.models import Conditioning

    section, train = config.tokenizer, prepared.split("train")
    made: Any = build_tokenizer(section, image)
    if isinstance(section, KMeansConfig):
        fit_means(made, section, train)
    elif isinstance(section, VQTokenizerConfig):
        recipe = recipe_of(section.train, [root / PREPARE], (*TRAINING_ROOMS, *LANGUAGE_ROOMS))
        options: Any = {"image": image, "conditioning": Conditioning(), "split": train}
        with trained(section.train, root, recipe=recipe, **options) as (state, _):
            made.net.load_state_dict(state.G_ema.state_dict())
    made = made.eval().requires_grad_(False)
    order_codes(made)
    return made


def llm(config: Config, root: Path) -> None:
    """Train the language model on the tokens, from classes, captions and nothing; measure its likelihood."""
    from ganline import ranks

    with ranks.joined():
        llm_together(config, root)


def llm_together(config: Config, root: Path) -> None:
    import numpy as np
    from safetensors.torch import save

    from ganline import ranks
    from ganline.data.loader import Prepared
    from ganline.devices import machine, make_exact, pick
    from ganline.language.captions import Captions
    from ganline.language.learning import Texts, learn
    from ganline.training.loop import Run

    make_exact()
    section, prepared, captions = config.llm, Prepared(root / PREPARE), Captions(root / CAPTIONS)
    compute, meta = pick(section.precision), read_json(root / TOKENIZER / "tokenizer.json")
    tokens = {name: np.load(root / TOKENIZER / f"{name}_tokens.npy") for name in SPLITS}
    shape = {
        "vocab": meta["vocab"],
        "num_tokens": meta["num_tokens"],
        "num_classes": len(prepared.labels) if len(prepared.labels) > 1 else 0,
        "prompt_dim": captions.dim if section.prompt_share else 0,
    }
    recipe = llm_recipe(config, root)
    work, here = work_folder(root, recipe), machine(compute, world_size=ranks.size())
    if section.compile:
        here["compiled"] = compute.can_compile()
    texts = Texts(
        prepared.split("train"),
        tokens["train"],
        tokens["val"],
        prepared.split("val").labels,
        (lambda rows, draws: captions.draw(rows, split="train", generator=draws)) if section.prompt_share else None,
    )
    with only_writer(work) if ranks.is_first() else nullcontext():
        if ranks.is_first():
            write_json(work / "machine.json", here)
        state = learn(section, texts, shape, run=Run(work, recipe, here), compute=compute)
        if not ranks.is_first():
            return
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.llm_ema.state_dict().items()}
        with atomic_folder(root / LLM) as partial:
            (partial / "llm.safetensors").write_bytes(save(weights))
            write_json(partial / "llm.json", {"size": section.size.model_dump(mode="json"), **shape})
            shutil.copyfile(work / "history.jsonl", partial / "history.jsonl")
            told = likelihoods(state.llm_ema, tokens, prepared, compute)
            write_json(partial / "likelihood.json", told)
        write_json(work / "outcome.json", {"exact": state.exact, "skipped": state.skipped})
    log.info(
        "llm: %.3f nats per token of test images, %.4f per dimension (%.4f by positions' histograms)",
        told["nats_per_token"],
        told["nats_per_dim"],
        told["baselines"]["unigram_nats_per_dim"],
    )


def llm_recipe(config: Config, root: Path) -> str:
    """What decides the language model's weights."""
    inputs = [root / PREPARE, root / TOKENIZER, root / CAPTIONS]
    return recipe_of(config.llm, inputs, (*TRAINING_ROOMS, *LANGUAGE_ROOMS, *WORDS))


def likelihoods(model: Any, tokens: dict[str, Any], prepared: Prepared, compute: Compute) -> dict[str, Any]:
    """How likely the test split's tokens are, beside trivial models of them. A dimension is a value of a pixel."""
    import math

    from ganline.language.learning import nats_per_token, unigram_nats

    test, labels = tokens["test"], prepared.split("test").labels
    per_dim = test.shape[1] / (prepared.channels * prepared.resolution**2)
    told, untold = (nats_per_token(model, test, each, compute) for each in (labels, None))
    unigram = unigram_nats(tokens["train"], test, model.vocab)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "split": "test",
        "n": len(test),
        "nats_per_token": told,
        "nats_per_token_without_class": untold,
        "nats_per_dim": told * per_dim,
        "train_nats_per_token": nats_per_token(
            model, tokens["train"][: len(test)], prepared.split("train").labels[: len(test)], compute
        ),
        "baselines": {
            "uniform_nats_per_token": math.log(model.vocab),
            "unigram_nats_per_token": unigram,
            "uniform_nats_per_dim": math.log(model.vocab) * per_dim,
            "unigram_nats_per_dim": unigram * per_dim,
        },
    }


def load_teacher(config: Config, root: Path, compute: Compute) -> Teacher:
    """The language model with its tokenizer, as a generator on the device. Raises BundleError for damaged files."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ganline.language.llama import Llama
    from ganline.language.sections import LlamaSize
    from ganline.language.teacher import Teacher
    from ganline.language.tokenizers import load_tokenizer

    meta = read_json(root / LLM / "llm.json")
    model = Llama(LlamaSize.model_validate(meta.pop("size")), **meta)
    weights = root / LLM / "llm.safetensors"
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:  # RuntimeError: other tensors than llm.json says
        raise BundleError(f"{weights} is damaged", remedy="run `dvc repro llm`") from error
    codes = load_tokenizer(root / TOKENIZER)
    return compute.place(Teacher(model, codes, config.teacher)).eval().requires_grad_(False)


def bank(config: Config, root: Path) -> None:
    """The teacher's images with their labels and noise: what students learn from."""
    import numpy as np
    import torch

    from ganline.data.loader import Prepared
    from ganline.devices import device_memory_mb, make_exact, pick
    from ganline.models.sampling import CHUNK, label_histogram, latents, sample
    from ganline.training.tracker import SYSTEM, Tracker

    make_exact()
    compute, section, prepared = pick("fp32"), config.bank, Prepared(root / PREPARE)
    work, started = work_folder(root, bank_recipe(config, root)), time.monotonic()
    (work / SYSTEM).unlink(missing_ok=True)
    tracker = Tracker(work)
    teacher = load_teacher(config, root, compute)
    shares = None  # of labels, which are -1 where images have none
    if teacher.num_classes:
        shares = label_histogram(prepared.split("train").labels, len(prepared.labels))
    images, labels = [], []
    told = 0
    for made, asked in sample(
        teacher,
        n=section.n,
        seed=section.seed,
        num_classes=teacher.num_classes,
        compute=compute,
        label_weights=shares,
    ):
        images.append(made.cpu())
        labels.append(torch.zeros(len(made), dtype=torch.int64) if asked is None else asked.cpu())
        told += len(made)
        if told % (CHUNK * 100) == 0:
            log.info("bank: %d of %d images", told, section.n)
    rate, memory = told / (time.monotonic() - started), device_memory_mb(compute)
    tracker.system(step=1, nimg=told, images_per_second=rate, device_memory_mb=memory)  # its price: never an out
    noise = torch.cat([latents(section.seed, chunk, teacher.z_dim) for chunk in range(len(images))])[: section.n]
    folder = fresh_folder(root / BANK)
    np.save(folder / "bank_images.npy", torch.cat(images).numpy())
    np.save(folder / "bank_labels.npy", torch.cat(labels).numpy())
    np.save(folder / "bank_z.npy", noise.numpy())
    write_json(folder / "bank.json", section.model_dump(mode="json") | config.teacher.model_dump(mode="json"))


def bank_recipe(config: Config, root: Path) -> str:
    """What decides the bank."""
    rooms = (*TRAINING_ROOMS, *LANGUAGE_ROOMS)
    recipe = recipe_of(config.bank, [root / TOKENIZER, root / LLM], rooms)
    return sha256_json([recipe, config.teacher.model_dump(mode="json")])
