"""What is told of a study beside times: the machine, how long trainings took, how the language model stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganline.config import Config
from ganline.files import read_json
from ganline.home import home
from ganline.stages.language import bank_recipe, llm_recipe, student_recipe, student_section
from ganline.stages.places import BANK, LLM
from ganline.training.tracker import SYSTEM, read_lines

if TYPE_CHECKING:
    from ganline.devices import Compute

CLOCK, PROCESSOR = "train_seconds", "train_cpu_seconds"


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


def train_seconds(root: Path, recipe: str) -> dict[str, float]:
    """How long a training, or the making of the bank, ran here by its log: seconds of the clock and, on a CPU, of the
    processor, which feel other work less. Empty where it came from a cache."""
    work = home(root) / "work" / recipe[:16]
    lines = read_lines(work / SYSTEM)
    if not lines:
        return {}
    before = [0, *(line["nimg"] for line in lines)]
    seconds = [(line["nimg"] - a) / line["images_per_second"] for a, line in zip(before, lines, strict=False)]
    machine = read_json(work / "machine.json") if (work / "machine.json").exists() else {}
    # On a GPU the processor mostly waits; of several ranks the first alone writes a log.
    if any("device_memory_mb" in line for line in lines) or machine.get("world_size", 1) > 1:
        return {CLOCK: float(sum(seconds))}
    return {CLOCK: float(sum(seconds)), PROCESSOR: float(sum(line["cpu_seconds"] for line in lines))}


def trained_in(root: Path, recipe: str) -> dict[str, str]:
    """The number format of that training's forward passes ("bfloat16", "float32"). Empty where it came from a cache."""
    machine = home(root) / "work" / recipe[:16] / "machine.json"
    return {"trained_in": read_json(machine)["precision"]} if machine.exists() else {}


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
    recipe = llm_recipe(config, root)
    return facts | train_seconds(root, recipe) | trained_in(root, recipe)


def ablation(config: Config, root: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """Every way with the images and the seconds of all its trainings together; seconds only where all ran here."""
    told_ways = {}
    for name, record in found.items():
        trainings = [student_section(config, root, name, seed) for seed in record["seeds"]]
        way = config.students.ways[name]
        recipes = [student_recipe(section, way, root) for section in trainings]
        seconds = [train_seconds(root, recipe) for recipe in recipes]
        known = {
            key: sum(each[key] for each in seconds)
            for key in (CLOCK, PROCESSOR)
            if all(key in each for each in seconds)
        }
        told_ways[name] = record | known | trained_in(root, recipes[0])
    return told_ways


def bank_facts(config: Config, root: Path) -> dict[str, Any]:
    """How many images it holds, and what making it took."""
    return {"n": read_json(root / BANK / "bank.json")["n"]} | train_seconds(root, bank_recipe(config, root))
