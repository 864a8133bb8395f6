"""What each tokenizer's reconstructions score: the ceiling of a language model on it.

    python benchmarks/tokenizers.py --root .ganline/ws/speedup-fashion --out benchmarks/results/tokenizers.json

Training images, encoded and decoded, against the workspace's reference; the learned tokenizer is the workspace's own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from ganline.config import load_config
from ganline.data.loader import Prepared
from ganline.devices import available_cores, cpu_model, make_exact, pick
from ganline.evaluation.features import look, random_rows, split_batches
from ganline.evaluation.frechet import fit_gaussian, frechet_distance
from ganline.evaluation.panel import first_of
from ganline.evaluation.reference import load_reference
from ganline.files import write_json
from ganline.images import to_network, to_pixels
from ganline.language.sections import KMeansConfig, PixelsConfig
from ganline.language.tokenizers import build_tokenizer, fit_means, load_tokenizer
from ganline.models import ImageSpec
from ganline.stages.measuring import extractors
from ganline.stages.places import PREPARE, REFERENCE, TOKENIZER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--root", type=Path, required=True, help="a workspace whose stages reference and tokenizer are done"
    )
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    make_exact()
    root, compute = arguments.root, pick("fp32")
    config, prepared = load_config(root), Prepared(root / PREPARE)
    looking = extractors(config, root, compute)
    real = first_of(load_reference(root / REFERENCE, compute.device, looking), arguments.n)
    image = ImageSpec(resolution=prepared.resolution, channels=prepared.channels)  # type: ignore[arg-type]
    train, tokenizers, rows = prepared.split("train"), {"learned": load_tokenizer(root / TOKENIZER)}, []
    for vocab in (512, 1024):
        settings = KMeansConfig(vocab=vocab)
        means = build_tokenizer(settings, image)
        started = time.monotonic()
        fit_means(means, settings, train)  # type: ignore[arg-type]
        print(f"k-means {vocab}: fitted in {time.monotonic() - started:.0f} s")
        tokenizers[f"kmeans {vocab}"] = means
    tokenizers["pixels 16"] = build_tokenizer(PixelsConfig(levels=16), image)
    chosen = random_rows(len(train), real.n, "floor")
    for name, tokenizer in tokenizers.items():
        own = compute.place(tokenizer).eval()
        with torch.inference_mode():
            made = (
                (to_pixels(own.decode(own.encode(to_network(images)))), labels)
                for images, labels in split_batches(train, chosen, device=compute.device)
            )
            seen = look(made, looking, pixels=False)
        row = {"tokenizer": name, "tokens": own.num_tokens, "vocab": own.vocab}
        for role, extractor in looking.items():
            found = frechet_distance(fit_gaussian(seen.by[role]), fit_gaussian(real.test.by[role]))
            row[f"fd_{extractor.name}_n{real.n}"] = found
        rows.append(row)
        print(row, flush=True)
    if arguments.out:
        where = {"cpu": cpu_model(), "cores": available_cores(), "torch": torch.__version__}
        floors = {key: real.floors[key] for key in ("fd", "fd_second")}
        write_json(arguments.out, {"machine": where, "n": real.n, "split": real.split, "real": floors, "rows": rows})


if __name__ == "__main__":
    main()
