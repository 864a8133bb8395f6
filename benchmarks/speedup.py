"""A study's figures as docs/results.md tells them, and without the records of each seed as JSON.

make speedup PRESET=speedup-fashion
python benchmarks/speedup.py .ganline/ws/speedup-fashion --out benchmarks/results/speedup-fashion.json
python benchmarks/speedup.py benchmarks/results/speedup-fashion.json --into docs/results.md
cp .ganline/ws/speedup-fashion/artifacts/speedup/quality_against_latency.png docs/speedup.png

Reads a workspace where `ganline speedup` ran, or a file that --out wrote. With --into the text replaces what stands
between `<!-- DATA SET study:begin -->` and `<!-- DATA SET study:end -->`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganline.acceleration.study import SETTLED
from ganline.evaluation.uncertainty import paired_differences, paired_intervals
from ganline.files import read_json, write_json
from ganline.page.glossary import figure, groups, metric, span, titled
from ganline.page.glossary import pair as pair_of
from ganline.page.pareto import form_name
from ganline.stages.places import SPEEDUP

KEPT = ("name", "value", "interval", "floor", "n", "split", "seeds")
FIGURES = ("fd", "fd_second", "recall", "recall_second", "coverage", "density", "label_accuracy", "class_coverage")
BESIDE = ("recall", "label_accuracy")
ENCODERS = {"p50_ms": "eager", "eager_ms": "eager", "onnx_ms": "ONNX Runtime", "int8_ms": "its int8 form"}
TIMES_ALONE, ASKED = "language model / GAN", " on the asked side"
Study = Mapping[str, Any]


def without_seeds(study: dict[str, Any]) -> dict[str, Any]:
    """The study, its records cut to what is told, and every figure of the headline's pair with their difference."""
    study.setdefault("pair", paired(study))
    for variant in study["variants"]:
        quality = variant["quality"]
        variant["quality"] = {
            key: {name: quality[key][name] for name in KEPT if name in quality[key]}
            for key in FIGURES
            if key in quality
        }
    return study


def headline(study: Study) -> Mapping[str, Any]:
    verdict = study["verdict"]
    return verdict["equal"] or verdict["nearer"] or verdict["best"]  # type: ignore[no-any-return]


def paired(study: Study) -> dict[str, dict[str, Any]]:
    """Figure -> [teacher's, student's], what real images score, and the interval of the difference over seeds of noise,
    of the headline's student and the teacher's form nearest to real images; nothing where seeds were cut already."""
    quality = {f"{each['model']} {each['form']}": each["quality"] for each in study["variants"]}
    chosen = headline(study)
    before, after = quality[chosen["teacher_best"]], quality[chosen["student"]]
    return {
        key: {
            "values": [value(before, key), value(after, key)],
            "floor": before[key].get("floor"),
            "interval": list(paired_intervals(key, before[key], after[key])[0]),
        }
        for key in paired_differences(before, after)
    }


def value(quality: Mapping[str, Any], key: str) -> float:
    return float(quality[key]["value"])


def near(quality: Mapping[str, Any]) -> str:
    """Precision and recall, where they were measured."""
    told = (f"{key} {value(quality, key):.3f}" for key in ("precision", "recall") if key in quality)
    return "".join(f" {each}" for each in told)


def pair(quality: Mapping[str, Any]) -> str:
    """Distance by the first extractor, and by the second one in brackets."""
    return f"{value(quality, 'fd'):.3f} ({value(quality, 'fd_second'):.3f})"


def signed(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"


def named(variant: str) -> str:
    """'s1 int8' -> '`s1` in ONNX Runtime, int8'."""
    model, form = variant.split()
    return f"{'the language model' if model == 'teacher' else f'`{model}`'} in {form_name(form)}"


def teacher(study: Study, form: str | None = None) -> Mapping[str, Any]:
    """The teacher's form of that name, by default the one nearest to real images."""
    forms = [each for each in study["variants"] if each["kind"] == "teacher" and form in (None, each["form"])]
    return min(forms, key=lambda each: value(each["quality"], "fd"))


def shown(study: Study) -> list[Mapping[str, Any]]:
    """The variants without those of a network that an earlier student has already: their times would be told twice."""
    first: dict[int, str] = {}
    return [each for each in study["variants"] if first.setdefault(each["macs"], each["model"]) == each["model"]]


def clock(given: Mapping[str, Any]) -> str:
    """How times were taken, as far as the study recorded it."""
    if SETTLED not in given:
        return ""
    rounds, batches, (single, wide) = given["rounds"], given["rounds of batches"], given["passes a turn"]
    return (
        f"{rounds} rounds of single images and {batches} of batches, in an order drawn anew each round; in its turn a "
        f"form runs for {given[SETTLED]:g} ms or a pass, then {single} passes count, {wide} of batches; "
    )


def protocol(study: Study) -> str:
    given, machine, quality = study["protocol"], study["machine"], teacher(study)["quality"]
    seeds = given["seeds"]
    first, second = (
        f"`{quality[key]['name']}` (real images {quality[key]['floor']:.3f})" for key in ("fd", "fd_second")
    )
    return (
        f"N = {given['n']:,}, generator seeds {seeds[0]} to {seeds[-1]}, {given['split']} split; "
        f"{given['threads']} thread on either side, from noise and class to uint8 pixels; {clock(given)}"
        f"{machine['cores']} cores of an {machine['device']} "
        f"({machine['cpu_capability']}); load {machine['load before']} before the "
        f"times, {machine['load after']} after. Distances: {first} and in brackets {second}. Students of one network "
        "(S1 to S4) are equally fast: the first of them is shown."
    )


def variants(study: Study) -> Iterator[str]:
    batch = study["protocol"]["batch"]
    yield (
        f"| | p50, p95, first ms at batch 1 | images/s at batch {batch} | cold start | size, MACs | distance | recall "
        "| label accuracy |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for each in shown(study):
        timing, quality = each["timing"], each["quality"]
        low, high = quality["fd"]["interval"]
        title = "language model" if each["kind"] == "teacher" else f"GAN `{each['model']}`"
        yield (
            f"| {title}, {form_name(each['form'])} "
            f"| {timing['p50_ms']:.3g}, {timing['p95_ms']:.3g}, {timing['first_ms']:.3g} | {timing['throughput']:,.0f} "
            f"| {timing['cold_ms'] / 1000:.2g} s | {each['num_bytes'] / 1e6:.2f} MB, {each['macs'] / 1e6:.3g} M "
            f"| {value(quality, 'fd'):.3f} [{low:.3f}, {high:.3f}] ({value(quality, 'fd_second'):.3f}) "
            f"| {' | '.join(f'{value(quality, key):.3f}' if key in quality else '' for key in BESIDE)} |"
        )


def compared(given: Mapping[str, Any]) -> str:
    """One student against the teacher: ratios, differences, and the same on images that no form was chosen by."""
    images, teachers_images = given["student_throughput"], given["teacher_throughput_value"]
    told = (
        f"{named(given['student'])}: **{given['latency_ratio']:.1f} times less time at batch 1** "
        f"({given['student_ms']:.3f} against {given['teacher_ms']:.2f} ms) and **{given['throughput_ratio']:.1f} "
        f"times as many images at batch {given['batch']}** ({images:,.0f} against {teachers_images:,.0f}); "
    )
    if "first_ratio" in given:
        told += (
            f"after other work, with cold caches, {given['first_ratio']:.1f} times less time "
            f"({given['student_first_ms']:.3f} against {given['teacher_first_ms']:.2f} ms), by the clock of studies "
            f"before the tenth {given['early_ratio']:.1f} times; "
        )
    told += (
        f"distance {given['student_distance']:.3f} against {given['teacher_distance']:.3f}, "
        f"{given['difference']:+.3f} {signed(given['interval'])} over seeds"
    )
    if given.get("halves"):
        told += f", against the halves {signed(given['halves'][0])} and {signed(given['halves'][1])}"
    again = [f"{each['difference']:+.3f} {signed(each['interval'])}" for each in (given["confirmed"] or {}).values()]
    if again:
        told += f"; on other test images and from other noise {' and '.join(again)} by the two extractors"
    return told + "."


def ratios(study: Study) -> Iterator[str]:
    verdict = study["verdict"]
    equal, nearer, best = (verdict[key] for key in ("equal", "nearer", "best"))
    if equal:
        yield f"**At equal quality by both extractors**, {compared(equal)}"
    else:
        yield "**No student passes by both extractors**: there is no ratio at equal quality."
    if nearer and (not equal or nearer["student"] != equal["student"]):
        yield f"By the first extractor alone, {compared(nearer)}"
    if not nearer:
        yield f"The nearest student, {compared(best)}"
    each = (
        f"`{one['model']}` {form_name(one['form'])} {best['teacher_ms'] / one['timing']['p50_ms']:.1f} and "
        f"{one['timing']['throughput'] / best['teacher_throughput_value']:.1f}"
        for one in shown(study)
        if one["kind"] == "student" and one["form"] in ("onnx", "int8")
    )
    fastest = " and ".join(dict.fromkeys(named(best[key]) for key in ("teacher_latency", "teacher_throughput")))
    yield (
        f"Ratios at batch 1 and {best['batch']} whatever the quality, to {fastest}: {'; '.join(each)}. The aims were "
        "100 and 20."
    )


def beside(study: Study) -> Iterator[str]:
    """Every figure of the headline's pair; of some studies only what is in `variants` was kept."""
    if not (figures := study.get("pair")):
        return
    chosen = headline(study)
    sides = f"{named(chosen['teacher_best'])} | {named(chosen['student'])}"
    yield f"| figure | {sides} | difference over seeds | real images |"
    yield "|---|---|---|---|---|"
    for _, keys in groups(list(figures)):
        for key in keys:
            (before, after), (low, high) = figures[key]["values"], figures[key]["interval"]
            style = metric(key).style
            told = *pair_of(before, after, style), f"{figure(after - before, style)} [{span(low, high, style)}]"
            yield f"| {titled(key)} | {' | '.join(told)} | {figure(figures[key]['floor'], style)} |"
    yield ""


def models(study: Study) -> Iterator[str]:
    """What the language model reaches, and how long both sides were trained."""
    tokenizer, language, bank = (study[key] for key in ("tokenizer", "language", "bank"))
    ceiling, best = tokenizer["reconstruction"], teacher(study)["quality"]
    yield (
        f"Reconstructions by the tokenizer ({tokenizer['num_tokens']} tokens of {tokenizer['vocab']}) score "
        f"{pair(ceiling)}, the ceiling; the language model is {value(best, 'fd') - value(ceiling, 'fd'):.3f} above."
    )
    trivial = (
        f"{name} {each['nats_per_token']:.3f} and {each['nats_per_dim']:.4f}"
        for name, each in language["baselines"].items()
    )
    yield (
        f"Language model: {language['parameters'] / 1e6:.2f} M parameters, {language['kimg']:.0f} kimg, "
        f"{language['nats_per_token']:.3f} nats a token of {language['split']} images and "
        f"{language['nats_per_dim']:.4f} a dimension (trivial: {', '.join(trivial)})."
    )
    ways = study["ablation"].values()
    if formats := {each["trained_in"] for each in (language, *ways) if "trained_in" in each}:
        yield f"Language model and GANs were trained in {' and '.join(sorted(formats))}."
    units = {"train_cpu_seconds": "Processor", "train_seconds": "Clock"}
    known = (key for key in units if all(key in each for each in (language, bank, *ways)))
    if key := next(known, None):
        together = sum(way[key] for way in ways)
        share = language[key] / (together + bank[key])
        yield (
            f"{units[key]} seconds of training: the language model {language[key]:,.0f}, all "
            f"{sum(len(way['seeds']) for way in ways)} trainings of students {together:,.0f}, the bank of "
            f"{bank['n']:,} images {bank[key]:,.0f}: the language model trained for {share:.0%} of what these took."
        )
    likelihood = (
        f"{name} {each['nats_per_token']:.3f} ({each.get('class_entropy', 0.0):.3f})"
        for name, each in study["likelihood"].items()
    )
    yield f"Its nats a token of re-tokenised images (entropy of the classes seen): {', '.join(likelihood)}."
    between = ", ".join(f"{name} {pair(each)}{near(each)}" for name, each in study["between"].items())
    yield f"Beside its images instead of real ones (`teacher`: its own of other seeds), distances: {between}."
    parity = (
        f"{model} {form_name(form)} {each['equal_pixels']:.2%}"
        for model, forms in study["parity"].items()
        for form, each in forms.items()
        if "equal_pixels" in each and model in {one["model"] for one in shown(study)}
    )
    yield f"Pixels that equal eager torch's: {', '.join(parity)}."
    if study["failed"]:
        yield f"Could not be had: {study['failed']}."


def ways(study: Study) -> Iterator[str]:
    yield "| way | what it is | distance of each training seed (the first seeds of noise) | second extractor |"
    yield "|---|---|---|---|"
    for name, way in study["ablation"].items():
        first, second = (
            ", ".join(f"{one:.{digits}f}" for one in way[key]["per_seed"].values())
            for key, digits in (("fd", 2), ("fd_second", 3))
        )
        yield f"| `{name}` | {way['what']} | {first} | {second} |"


def prompts(study: Study) -> Iterator[str]:
    given = study["prompts"]
    if not given:
        return
    rows = given["adherence"]
    sides = list(dict.fromkeys(key for each in rows.values() for key in each if key.endswith(ASKED)))
    yield f"| who is asked, and by what | right class | of real images' | {' | '.join(sides)} | N, texts |"
    yield "|---|---|---|" + "---|" * len(sides) + "---|"
    for texts, each in rows.items():
        told = " | ".join(f"{each[key]:.3f}" if key in each else "" for key in sides)
        yield (
            f"| {texts} | {each['class right']:.3f} | **{each['ratio']:.3f}** | {told} "
            f"| {each['n']:,}, {each['prompts']} |"
        )
    faster = {key.rpartition("): ")[2]: one for key, one in given.items() if key.startswith(TIMES_ALONE)}
    own = given["encoder"]
    alone = [f"{own[key]:.1f} ms ({words})" for key, words in ENCODERS.items() if key in own]
    small = study["parity"].get("encoder", {}).get("int8")
    cosine = f"; the cosine of int8 embeddings and torch's is {small['mean_cosine']:.3f}" if small else ""
    yield f"\nFrom text to pixels the sentence encoder takes {', '.join(alone)} on either side{cosine}."
    if len(faster) > 1:  # by each clock
        told = ", ".join(f"{one:.2f} times as fast {words}" for words, one in faster.items())
    else:
        told = "".join(f"{one:.2f} times as fast" for one in faster.values())
    if told:
        yield (
            f"With it the GAN is {told}: times of the fastest forms but compiled ones, whose quality differs"
            + ("." if any(" in int8:" in texts for texts in rows) else "; adherence is that of float32 forms.")
        )


def section(study: Study) -> str:
    facts = [f"- {each}" for part in (ratios, models) for each in part(study)]
    return "\n".join(
        [protocol(study), "", *variants(study), "", *facts, "", *beside(study), *ways(study), "", *prompts(study)]
    )


def marks(study: Study) -> tuple[str, str]:
    """What stands before and after the text."""
    return f"<!-- {study['dataset']} study:begin -->", f"<!-- {study['dataset']} study:end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path, help="a workspace where `ganline speedup` ran, or a file that --out wrote")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--into", type=Path, help="a Markdown file with the two marks")
    arguments = parser.parse_args()
    path = arguments.study / SPEEDUP / "study.json" if arguments.study.is_dir() else arguments.study
    study = without_seeds(read_json(path))
    if arguments.out:
        write_json(arguments.out, study)
    told = section(study)
    print(told)
    if arguments.into:
        begin, end = marks(study)
        text = arguments.into.read_text()
        if begin not in text or end not in text:
            parser.error(f"{arguments.into} holds no {begin} and {end}")
        before, rest = text.split(begin)
        arguments.into.write_text(f"{before}{begin}\n{told}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
