"""What is told of a study beside times: the machine, how long trainings took, how the language model stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.files import read_json
from ganline.home import home
from ganline.stages.language import bank_recipe, llm_recipe
from ganline.stages.places import BANK, LLM
from ganline.stages.students import student_recipe, student_section
from ganline.training.tracker import SYSTEM, read_lines

if TYPE_CHECKING:
    from ganline.devices import Compute

CLOCK, PROCESSOR, SPAN = "train_seconds", "train_cpu_seconds", "span"


def described(compute: Compute) -> dict[str, Any]:
    """The machine, as far as times hang on it. ONNX Runtime runs on the processor, wherever torch does. Threads
    stand in the protocol, and what networks were trained in beside their losses."""
    import onnxruntime

    from ganline.devices import available_cores, cpu_model, machine

    own = {key: value for key, value in machine(compute).items() if key not in ("threads", "precision", "world_size")}
    return own | {
        "processor": cpu_model(),
        "cores": available_cores(),
        "onnxruntime": onnxruntime.__version__,
    }


def trained(root: Path, recipe: str) -> dict[str, Any]:
    """How a training went, or the making of the bank, if it ran here: the number format of forward passes ("bfloat16",
    "float32"), by its log the seconds of the clock (and from when to when) and, on a CPU, of the processor, which feel
    other work less. Empty where it came from a cache."""
    work = home(root) / "work" / recipe[:16]
    machine = read_json(work / "machine.json") if (work / "machine.json").exists() else {}
    told: dict[str, Any] = {"trained_in": machine["precision"]} if machine else {}
    lines = read_lines(work / SYSTEM)
    if not lines:
        return told
    before = [0, *(line["nimg"] for line in lines)]
    seconds = [(line["nimg"] - a) / line["images_per_second"] for a, line in zip(before, lines, strict=False)]
    told[CLOCK] = float(sum(seconds))
    told[SPAN] = (lines[0]["time"] - seconds[0], lines[-1]["time"])
    # On a GPU the processor mostly waits; of several ranks the first alone writes a log.
    if machine.get("world_size", 1) == 1 and not any("device_memory_mb" in line for line in lines):
        told[PROCESSOR] = float(sum(line["cpu_seconds"] for line in lines))
    return told


def language_facts(config: Config, root: Path) -> dict[str, Any]:
    """Likelihoods, and how it was trained."""
    facts = read_json(root / LLM / "likelihood.json") | {"kimg": config.llm.total_kimg}
    baselines = facts.pop("baselines")
    facts["baselines"] = {
        name: {key: baselines[f"{name}_{key}"] for key in ("nats_per_token", "nats_per_dim")}
        for name in ("uniform", "unigram")
    }
    prompts, nothing = config.llm.prompt_share, config.llm.unconditional_share
    classes = 1 - prompts - nothing if read_json(root / LLM / "llm.json")["num_classes"] else 0.0
    facts["shares"] = {"classes": classes, "prompts": prompts, "nothing": 1 - prompts - classes}
    return facts | together([trained(root, llm_recipe(config, root))], (CLOCK, PROCESSOR))


def ablation(config: Config, root: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """Every way with the seconds of all its trainings together, where all ran here."""
    trainings = {
        name: [
            trained(root, student_recipe(student_section(config, root, name, seed), config.students.ways[name], root))
            for seed in record["seeds"]
        ]
        for name, record in found.items()
    }
    told = measures(list(chain(*trainings.values())))
    return {name: record | together(trainings[name], told) for name, record in found.items()}


def measures(trainings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """By which seconds trainings add up: not by the clock's where they ran side by side, which takes less time."""
    spans = sorted(each[SPAN] for each in trainings if SPAN in each)
    one_by_one = all(later[0] >= earlier[1] for earlier, later in pairwise(spans))
    return (CLOCK, PROCESSOR) if one_by_one else (PROCESSOR,)


def together(trainings: Sequence[Mapping[str, Any]], told: Sequence[str]) -> dict[str, Any]:
    """What is told of several trainings of one way."""
    known = {key: sum(each[key] for each in trainings) for key in told if all(key in each for each in trainings)}
    return {key: value for key, value in trainings[0].items() if key not in (CLOCK, PROCESSOR, SPAN)} | known


def bank_facts(config: Config, root: Path) -> dict[str, Any]:
    """How many images it holds, and what making it took."""
    return {"n": read_json(root / BANK / "bank.json")["n"]} | together(
        [trained(root, bank_recipe(config, root))], (CLOCK, PROCESSOR)
    )
