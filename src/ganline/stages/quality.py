"""The stage that measures teacher and students: the panel of every form whose numbers differ, and what is beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.files import fresh_folder, read_json, write_bytes, write_json
from ganline.stages.accelerating import TEACHER, studied
from ganline.stages.language import load_teacher
from ganline.stages.places import (
    ACCELERATED,
    PREPARE,
    QUALITY,
    QUALITY_PICTURES,
    REFERENCE,
    STUDENTS,
    TOKENIZER,
)
from ganline.stages.prompted import adherences, prompts_by_form

if TYPE_CHECKING:
    import torch

    from ganline.data.loader import Split
    from ganline.devices import Compute
    from ganline.evaluation.features import FeatureExtractor, Features
    from ganline.evaluation.reference import Reference
    from ganline.models.spec import Generator

log = logging.getLogger(__name__)

Compare = Callable[["Features"], Mapping[str, float]]
"""Features of generated images -> figures beside those of others."""
LIKELIHOOD_N, BETWEEN_SEEDS, SHOWN = 2000, 3, 32


def quality(config: Config, root: Path) -> None:
    """The panel of every form whose numbers differ, further training seeds, the likelihood of students' images under
    the teacher, what tells them from the teacher's images, and adherence to prompts."""
    from ganline.data.loader import Prepared
    from ganline.devices import make_exact, pick
    from ganline.evaluation.features import FIRST
    from ganline.evaluation.reference import load_reference
    from ganline.stages.measuring import describe, extractors

    make_exact()
    compute, prepared = pick("fp32"), Prepared(root / PREPARE)
    looking = extractors(config, root, compute)
    real = load_reference(root / REFERENCE, compute.device, looking)
    study = Measuring(config, root, compute, looking, real, prepared.labels)
    forms = study.forms()
    told: dict[str, Any] = {
        "dataset": prepared.name,
        "labels": list(prepared.labels),
        "resolution": prepared.resolution,
        "channels": prepared.channels,
        "extractors": {role: describe(extract) for role, extract in looking.items()},
        "forms": {name: study.panel(name, G) for name, G in forms.items()},
        "confirmation": study.confirmation(forms),
        "ablation": study.ablation(),
        "between": study.between(forms),
        "likelihood": study.likelihoods(forms),
        "adherence": adherences(
            forms,
            study.prompts,
            extract=looking[FIRST],
            split=prepared.split(real.split),
            num_classes=study.num_classes,
            n=config.quality.adherence_n,
            compute=compute,
        ),
        "tokenizer": study.reconstruction(prepared.split("train")),
        "parity": read_json(root / ACCELERATED / "parity.json"),
    }
    write_json(root / QUALITY, told)
    pictures = fresh_folder(root / QUALITY_PICTURES)
    write_bytes(pictures / "reconstruction.png", study.reconstruction_picture(prepared.split("test")))
    for name, G in forms.items():
        if name.endswith("/float32"):
            write_bytes(pictures / f"{name.partition('/')[0]}.png", study.picture(G))


class Measuring:
    """What measuring shares: config, extractors, the reference. Forms are named `MODEL/float32` and `MODEL/int8`."""

    def __init__(
        self,
        config: Config,
        root: Path,
        compute: Compute,
        looking: Mapping[str, FeatureExtractor],
        real: Reference,
        labels: tuple[str, ...],
    ):
        self.config, self.root, self.compute, self.looking, self.real = config, root, compute, looking, real
        self.num_classes = len(labels) if len(labels) > 1 else 0
        self.section = config.quality
        self.n = min(self.section.n, real.n)
        self.device = compute.device
        self.teacher = load_teacher(config, root, compute)
        self.tokenizer: Any = self.teacher.tokenizer
        self.prompts = prompts_by_form(config, root)

    def forms(self) -> dict[str, Generator]:
        """Every form whose numbers differ: float32 and int8. The teacher's float32 runs in ONNX Runtime, twice as fast
        as torch; it draws torch's tokens (`parity`)."""
        from ganline.acceleration.decoding_onnx import open_teacher
        from ganline.acceleration.runtime import eager_generator, open_generators

        folder, threads = self.root / ACCELERATED, self.threads()
        found: dict[str, Generator] = {}
        found[f"{TEACHER}/float32"] = open_teacher(folder / TEACHER, "onnx", threads=threads)
        found[f"{TEACHER}/int8"] = open_teacher(folder / TEACHER, "int8", threads=threads)
        for name, bundle in studied(self.config, self.root).items():
            found[f"{name}/float32"] = eager_generator(bundle.generator(), self.compute)
            found[f"{name}/int8"] = open_generators(folder / name, "int8", threads=threads)
            for form in ("float32", "int8"):
                G, known = found[f"{name}/{form}"], self.prompts[form] if bundle.prompts is not None else None
                G.tell = known.tell if known is not None else None
                G.num_classes = self.num_classes if known is not None else G.num_classes
        return found

    def threads(self) -> int:
        import torch

        return torch.get_num_threads()

    def panel(self, name: str, G: Generator, *, seeds: int | None = None) -> dict[str, Any]:
        from ganline.evaluation.panel import measure

        log.info("quality: %s", name)
        return measure(
            G,
            num_classes=G.num_classes,
            extractors=self.looking,
            real=self.real,
            seeds=self.section.seeds[:seeds],
            n=self.n,
            memorisation_n=self.section.memorisation_n,
            compute=self.compute,
        )

    def ablation(self) -> dict[str, Any]:
        """Way -> its students of all training seeds: figures by training seed, their mean and interval over them."""
        from ganline.evaluation.uncertainty import spread
        from ganline.registry.bundle import open_bundle

        told: dict[str, Any] = {}
        for name, way in self.config.students.ways.items():
            seeds = self.config.students.seeds_of(name)
            panels = {}
            for seed in seeds:
                G = self.compute.place(open_bundle(self.root / STUDENTS / f"{name}-{seed}").generator())
                panels[str(seed)] = self.panel(f"{name}-{seed}", G, seeds=self.section.ablation_seeds)
            seen = sum(self.config.students.training(name, seed).total_nimg for seed in seeds)
            told[name] = {"what": way.what, "seeds": list(seeds), "images_seen": seen, "mixture": way.mixture}
            for key in ("fd", "fd_second", "recall", "coverage", "label_accuracy"):
                records = [panel[key] for panel in panels.values() if key in panel]
                if len(records) == len(seeds):
                    values = [record["value"] for record in records]
                    per_seed = dict(zip(panels, values, strict=True))
                    told[name][key] = {"name": records[0]["name"], "per_seed": per_seed}
                    told[name][key] |= spread(values) if len(values) > 1 else {"value": values[0]}
        return told

    def label_weights(self, G: Generator) -> torch.Tensor | None:
        """How often a G of classes is asked for each: as often as training images have it."""
        return self.real.train_histogram if G.num_classes else None

    def features(self, G: Generator, seed: int) -> Features:
        from ganline.evaluation.features import look
        from ganline.models.sampling import sample

        weights = self.label_weights(G)
        images = sample(G, n=self.n, seed=seed, num_classes=G.num_classes, compute=self.compute, label_weights=weights)
        return look(images, self.looking, pixels=False)

    def confirmation(self, forms: Mapping[str, Generator]) -> dict[str, Any]:
        """Form -> its distances to real images that no other has read, from noise of its own."""
        from ganline.evaluation.panel import frechet_distances

        fresh = self.real.test.rows(slice(self.n, 2 * self.n))
        if len(fresh) < self.n:
            return {}
        figures = {seed: lambda fake: frechet_distances(fake, fresh) for seed in self.section.confirm_seeds}
        told = {name: self.compared(G, figures) for name, G in forms.items()}
        split = {"split": self.real.split}
        return {name: {key: each | split for key, each in records.items()} for name, records in told.items()}

    def between(self, forms: Mapping[str, Generator]) -> dict[str, Any]:
        """Student -> how its images differ from the teacher's, which stand in the real ones' place, by seeds of which
        no student has learned; `teacher`: its images beside its own of other seeds."""
        from ganline.evaluation.panel import frechet_distances, neighbourhoods
        from ganline.evaluation.reference import radii_of

        def beside(seed: int) -> Compare:
            real = self.features(forms[f"{TEACHER}/float32"], seed)
            radii = radii_of(real)
            return lambda fake: frechet_distances(fake, real) | neighbourhoods(fake, real, radii)

        figures = {6002 + 10 * i: beside(6001 + 10 * i) for i in range(BETWEEN_SEEDS)}
        return {
            name.removesuffix("/float32"): self.compared(G, figures, of="_teacher")
            for name, G in forms.items()
            if name.endswith("/float32")
        }

    def compared(self, G: Generator, figures: Mapping[int, Compare], *, of: str = "") -> dict[str, Any]:
        """A record of each figure of G's images, over seeds; `of` says in names what stands in the real ones' place."""
        from ganline.evaluation.names import full_name, role_of
        from ganline.evaluation.uncertainty import spread

        found = {str(seed): own(self.features(G, seed)) for seed, own in figures.items()}
        told: dict[str, Any] = {}
        for key in next(iter(found.values())):
            per_seed = {seed: each[key] for seed, each in found.items()}
            extractor = f"{self.real.extractors[role_of(key)]}{of}"
            told[key] = {"name": full_name(key, extractor, self.n), "n": self.n, "seeds": list(figures)}
            told[key] |= {"per_seed": per_seed} | spread(list(per_seed.values()))
        return told

    def likelihoods(self, forms: Mapping[str, Generator]) -> dict[str, Any]:
        """Teacher's nats per token of images cut into tokens again, given the class asked for, and the entropy of the
        classes seen: a model of one likely image would win the first alone."""
        from ganline.data.loader import Prepared
        from ganline.evaluation.features import FIRST, random_rows, split_batches
        from ganline.models.sampling import sample

        made: dict[str, Any] = {
            name.split("/")[0]: list(
                sample(
                    G,
                    n=LIKELIHOOD_N,
                    seed=7001,
                    num_classes=G.num_classes,
                    compute=self.compute,
                    label_weights=self.label_weights(G),
                )
            )
            for name, G in forms.items()
            if name.endswith("/float32")
        }
        test = Prepared(self.root / PREPARE).split("test")
        rows = random_rows(len(test), min(LIKELIHOOD_N, len(test)), "likelihood")
        made["real"] = list(split_batches(test, rows, device=self.compute.device))
        return {name: self.likelihood(batches, self.looking[FIRST]) for name, batches in made.items()}

    def likelihood(self, batches: list[Any], extract: FeatureExtractor) -> dict[str, Any]:
        import torch

        from ganline.evaluation.classes import entropy
        from ganline.images import to_network
        from ganline.language.learning import nats_per_token

        images = torch.cat([images for images, _ in batches])
        with torch.inference_mode():
            tokens = torch.cat([self.tokenizer.encode(to_network(part)) for part in images.split(256)])
            logits = [extract(part)[1] for part in images.split(256)]
        labels = None if batches[0][1] is None else torch.cat([labels for _, labels in batches]).cpu().numpy()
        told: dict[str, Any] = {"n": len(images)}
        told["nats_per_token"] = nats_per_token(self.teacher.llm, tokens.cpu().numpy(), labels, self.compute)
        if extract.classifies and logits[0] is not None:
            seen = torch.cat([part.argmax(1) for part in logits])  # type: ignore[union-attr]
            told["class_entropy"] = entropy(torch.bincount(seen, minlength=max(self.num_classes, 1)))
        return told

    def reconstructed(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [n, C, H, W], encoded and decoded again."""
        import torch

        from ganline.images import to_network, to_pixels

        with torch.inference_mode():
            return to_pixels(self.tokenizer.decode(self.tokenizer.encode(to_network(images))))

    def reconstruction(self, train: Split) -> dict[str, Any]:
        """Distances of reconstructed training images to the reference, as a generator's are measured: the least that a
        language model on these tokens can reach. The images are those that the floor is measured on."""
        from ganline.evaluation.features import look, random_rows, split_batches
        from ganline.evaluation.names import BETTER, full_name, metric_of, role_of
        from ganline.evaluation.panel import distances, first_of

        real = first_of(self.real, self.n)
        rows = random_rows(len(train), real.n, "floor")
        made = ((self.reconstructed(images), own) for images, own in split_batches(train, rows, device=self.device))
        terms = {role: float(each[0]) for role, each in real.kernel_terms.items()}
        figures = distances(look(made, self.looking, pixels=False), real.test, terms)
        meta = read_json(self.root / TOKENIZER / "tokenizer.json")
        facts = {"name": meta["tokenizer"]["name"], "num_tokens": meta["num_tokens"], "vocab": meta["vocab"]}
        records = {
            key: {
                "name": full_name(key, real.extractors[role_of(key)], real.n),
                "value": value,
                "floor": real.floors.get(key),
                "n": real.n,
                "split": real.split,
                "better": BETTER[metric_of(key)],
            }
            for key, value in figures.items()
        }
        return facts | read_json(self.root / TOKENIZER / "codes.json") | {"reconstruction": records}

    def reconstruction_picture(self, test: Split) -> bytes:
        """Test images above what the tokenizer makes of them."""
        import numpy as np
        import torch

        from ganline.images import grid, png_bytes

        originals = torch.from_numpy(np.array(test.images[:SHOWN])).to(self.device)
        pairs = zip(originals.split(SHOWN // 2), self.reconstructed(originals).split(SHOWN // 2), strict=True)
        rows = [part for pair in pairs for part in pair]
        return png_bytes(grid(torch.cat(rows).cpu().numpy(), columns=SHOWN // 2))

    def picture(self, G: Generator) -> bytes:
        """Two rows of samples, the same classes for every model."""
        import torch

        from ganline.images import grid, png_bytes
        from ganline.models.sampling import sample

        images, labels = zip(
            *sample(G, n=SHOWN, seed=9001, num_classes=G.num_classes, compute=self.compute), strict=True
        )
        order = torch.arange(SHOWN) if labels[0] is None else torch.cat(labels).argsort(stable=True)
        return png_bytes(grid(torch.cat(images)[order].cpu().numpy(), columns=SHOWN // 2))
