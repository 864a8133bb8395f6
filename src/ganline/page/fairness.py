"""How a comparison of a language model and a GAN could be unfair, and what this study did about it.

Each point is told with the evidence in the study's own figures. What the figures do not show is said to be not shown,
and what they show to be otherwise is said to be otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ganline.acceleration.study import EQUAL_PIXELS, Study, Variant
from ganline.page.glossary import figure, is_number, listed, number
from ganline.page.pareto import ceiling, distance, form_name
from ganline.page.study_tables import threads, threads_told, times

Held = Literal["held", "open", "broken"]
LENGTHS = {
    "train_cpu_seconds": "seconds of the processor (looks at validation images and compiling included)",
    "train_seconds": "seconds of the clock (other work slows it)",
    "images_seen": "images",
}
"""Key of a training's length -> its unit, the best measure first."""
ALIKE = 0.95
"""Share of equal pixels above which float32 forms are one model: a token that rounding turns changes a whole image."""


@dataclass(frozen=True)
class Unfairness:
    """One way to be unfair: what it would be, what was done, and whether the figures show it."""

    title: str
    unfair: str
    done: str
    held: Held


def unfairnesses(study: Study) -> list[Unfairness]:
    """All points, in one order."""
    return [rule(study) for rule in RULES]


def of_kind(study: Study, kind: str) -> list[Variant]:
    return [each for each in study.variants if each.kind == kind]


def baseline(study: Study) -> Unfairness:
    teachers = of_kind(study, "teacher")
    forms = [form_name(each.form) for each in teachers]
    held: Held = "held" if len(forms) > 1 else "open"
    if teachers:
        fastest = min(teachers, key=lambda each: each.timing.p50_ms)
        broadest = max(teachers, key=lambda each: each.timing.throughput)
        done = (
            f"It was measured in {listed(forms)}. Its fastest form at batch 1 is {form_name(fastest.form)} "
            f"({figure(fastest.timing.p50_ms)} ms), at batch {broadest.timing.batch} {form_name(broadest.form)} "
            f"({figure(broadest.timing.throughput)}/s); a ratio against a slower form is none."
        )
    else:
        done = "No form of the language model was measured."
    if study.tokenizer.get("name") == "pixels":
        held, done = "broken", f"{done} Its tokens are raw pixels: many more passes than patches take."
    return Unfairness(
        "A slow baseline",
        "A language model decoded without a cache, in one form only, or pixel by pixel, loses to anything.",
        done,
        held,
    )


def same_threads(study: Study) -> Unfairness:
    done = f"Both sides ran on {threads_told(study)}; throughput per core is told as well."
    return Unfairness(
        "Unequal threads",
        "One side on all cores, the other on one.",
        done,
        "held" if threads(study) else "open",
    )


def same_forms(study: Study) -> Unfairness:
    ours, theirs = ({each.form for each in of_kind(study, kind)} for kind in ("student", "teacher"))
    only = sorted(ours - theirs)
    if not ours or not theirs:
        return Unfairness("Unequal treatment", UNEQUAL, "One side was not measured.", "open")
    if only:
        done = f"Only students have a figure in {listed(list(map(form_name, only)))}; why is told under “What failed”."
        return Unfairness("Unequal treatment", UNEQUAL, done, "broken")
    extra = listed([form_name(form) for form in sorted(theirs - ours)]) if theirs - ours else ""
    done = "Each form of a student was measured of the language model too, and a table holds them against each other."
    done += f" Only the language model has a figure in {extra}." if extra else ""
    return Unfairness("Unequal treatment", UNEQUAL, done, "held")


UNEQUAL = "Compiling or quantising one side only: another dtype is another model."


def own_quality(study: Study) -> Unfairness:
    lacking = [each.name for each in study.variants if distance(each) is None]
    if lacking or not study.variants:
        done, held = f"Without a distance of its own: {listed(lacking) if lacking else 'all'}.", "open"
    else:
        done, held = "The images of float32 and of int8 were scored apart", "open"
        if shares := equal_pixels(study):
            (least, name), held = min(shares), "held" if min(shares)[0] >= ALIKE else "broken"
            done += f"; of eager, compiled and ONNX float32, at least {least:.2%} of pixels are equal (least: {name})"
        done += "." if shares else "; whether float32 forms paint the same was not measured."
    return Unfairness(
        "Quality of another form",
        "The speed of int8 told beside the quality of float32.",
        done,
        held,  # type: ignore[arg-type]
    )


def equal_pixels(study: Study) -> list[tuple[float, str]]:
    """Shares of pixels that compiled and ONNX float32 forms have in common with eager ones, with the form's name."""
    return [
        (float(each[EQUAL_PIXELS]), f"{model} {form}")
        for model, forms in study.parity.items()
        for form, each in forms.items()
        if form in ("compiled", "onnx") and is_number(each.get(EQUAL_PIXELS))
    ]


def guidance(study: Study) -> Unfairness:
    value = study.protocol.get("guidance")
    unfair = (
        "Classifier-free guidance doubles the language model’s passes; switched on for time only, it is a handicap."
    )
    if not is_number(value):
        return Unfairness("Guidance", unfair, "The guidance is not recorded.", "open")
    if value == 1:
        done = "Guidance was 1, that is none, in times and quality alike: one pass a token."
    else:
        done = (
            f"Guidance was {figure(value)} in times and quality alike: each token costs two passes, and a GAN has none."
        )
    return Unfairness("Guidance", unfair, done, "held")


def whole_path(study: Study) -> Unfairness:
    encoder = study.prompts.get("encoder")
    done = "A time runs from noise and class to pixels: the tokenizer’s decoder counts. "
    if encoder:
        done += "With prompts, the text encoder’s time is told and counted on both sides."
    else:
        done += "The path from a prompt, with its text encoder, was not measured."
    unfair = "Leaving out the tokenizer’s decoder, or the text encoder that both need."
    return Unfairness("Parts left out", unfair, done, "held" if encoder else "open")


def cold_start(study: Study) -> Unfairness:
    colds = [each.timing.cold_ms for each in study.variants if each.timing.cold_ms > 0]
    done = (
        f"Cold starts stand in a column of their own ({figure(min(colds))} to {figure(max(colds))} ms)" if colds else ""
    )
    unfair = "Compiling counted on one side, or never told."
    return Unfairness(
        "Cold start",
        unfair,
        f"{done} and are in no other time." if done else "Cold starts were not measured.",
        "held" if colds else "open",
    )


def training(study: Study) -> Unfairness:
    """The teacher's training against that of all ways together and the bank: in seconds of the processor if they are
    known, else in seconds of the clock, else in images."""
    unfair = "A language model that was stopped early is easy to match."
    ways = list(study.ablation.values())
    for key, unit in LENGTHS.items():
        ours, theirs = number(study.language, key), [number(each, key) for each in ways]
        if key == "images_seen" and ours is None and is_number(study.language.get("kimg")):
            ours = 1000 * float(study.language["kimg"])
        known = [each for each in theirs if each is not None]
        if ours is not None and known and len(known) == len(ways):
            owed = number(study.bank, key) or 0.0
            enough = ours >= sum(known) + owed
            done = (
                f"The language model was trained for {ours:,.0f} {unit}, all trainings of the {len(known)} ways "
                f"together for {sum(known):,.0f}{f', and the bank took {owed:,.0f}' if owed else ''}"
                f"{'' if enough else ': less than these'}."
            )
            return Unfairness("An untrained teacher", unfair, done, "held" if enough else "broken")
    done = "The lengths of the trainings are not recorded on both sides."
    return Unfairness("An untrained teacher", unfair, done, "open")


def reconstruction(study: Study) -> Unfairness:
    best, teachers = ceiling(study), [value for each in of_kind(study, "teacher") if (value := distance(each))]
    unfair = "A coarse tokenizer caps what the language model can reach, and a GAN has no such cap."
    if best is None:
        return Unfairness("The tokenizer’s ceiling", unfair, "The reconstruction’s distance was not measured.", "open")
    done = f"Real images, encoded and decoded, score {figure(best)}"
    done += f"; the language model’s best form {figure(min(teachers))}" if teachers else ""
    students = [value for each in of_kind(study, "student") if (value := distance(each))]
    below = bool(students) and min(students) < best
    done += f". Both lie in the picture{'; a student is below it, and the tokenizer may be why' if below else ''}."
    return Unfairness("The tokenizer’s ceiling", unfair, done, "broken" if below else "held")


def one_extractor(study: Study) -> Unfairness:
    lacking = [each.name for each in study.variants if number(each.quality.get("fd_second") or {}) is None]
    second = bool(study.variants) and not lacking
    done = (
        "A second, independent extractor scored every variant; its column stands beside the first one’s. By which of "
        "them recipes were chosen is not in these figures."
    )
    return Unfairness(
        "One extractor",
        "A student tuned until one network likes it.",
        done if second else f"Without a second extractor’s figure: {listed(lacking) if lacking else 'all'}.",
        "held" if second else "open",
    )


def the_bank(study: Study) -> Unfairness:
    done = "What making the bank costs is told above: a student that needs it owes that time once."
    return Unfairness(
        "The price of distilling",
        "Forgetting that the teacher has to paint what the student learns from.",
        done if study.bank else "What the bank costs was not measured.",
        "held" if study.bank else "open",
    )


WARM_SHARE = 0.95
"""Of the headline's ratio: what that of first passes may lose and still count as the same."""
ORDINALS = ("first", "second")


def selection(study: Study) -> Unfairness:
    """Whether the headline's student was measured again by images that did not choose it."""
    students = of_kind(study, "student")
    chosen = study.headline
    done = (
        f"{chosen.get('student') or 'No student'} was chosen among {len(students)} student forms by the images and "
        "seeds that it is told by"
    )
    by_latency = study.verdict.get("equal") or study.verdict.get("nearer")
    done += "; forms within 5 % of the least latency count as equal." if by_latency else ", by its distance alone."
    again = [each["interval"][1] <= 0.0 for each in (chosen.get("confirmed") or {}).values()]
    held: Held = "open" if not again else "held" if all(again) else "broken"
    if again:
        by = {ok: [which for which, own in zip(ORDINALS, again, strict=False) if own == ok] for ok in (True, False)}
        words = {True: "surely no farther", False: "not surely so"}
        found = [f"{words[ok]} by the {listed(names)} extractor" for ok, names in by.items() if names]
        done += " The pair was then scored once more, on real images that no form of this study was chosen by and from "
        done += f"other noise: {' and '.join(found)}."
    return Unfairness("Choosing after seeing", "Telling the best of many by what chose it.", done, held)


def one_training(study: Study) -> Unfairness:
    """Intervals are over noise: what another training would give they do not know."""
    way, told = headline_way(study)
    trained = len(told.get("seeds") or ())
    done = f"Each side of the headline is one training; {way or 'its way'} was trained with {trained} seed"
    done += f"{'' if trained == 1 else 's'}, the language model and its tokenizer once."
    if told.get("mixture"):
        done = f"{way} is one mixture of {trained} trainings; the language model and its tokenizer were trained once."
    done += " Intervals are over seeds of noise."
    return Unfairness("One training", "A lucky training told as the method's.", done, "open")


def headline_way(study: Study) -> tuple[str, Mapping[str, Any]]:
    """The way of the headline's student, and what the ablation tells of it; nothing where there is no student."""
    way = str(study.headline.get("student", "")).partition(" ")[0]
    return way, study.ablation.get(way) or {}


def several(study: Study) -> Unfairness:
    """Whether the headline's student is an ensemble and the language model is none."""
    (way, told), unfair = headline_way(study), "An ensemble against a single model."
    if not told:
        return Unfairness("Several against one", unfair, "What the student is made of is not recorded.", "open")
    if not told.get("mixture"):
        return Unfairness("Several against one", unfair, "Each side of the headline is one network.", "held")
    done = f"{way} is {len(told['seeds'])} networks, one of which paints each image; the language model is one. The "
    done += "seconds of all their trainings are counted against its own, their bytes are added up, all of them are "
    done += "opened in its cold start, and a batch is a pass for each. Several language models, each trained for a "
    done += "share of the time or for all of it, were not tried: they might be nearer to real images too."
    return Unfairness("Several against one", unfair, done, "broken")


def warm_clock(study: Study) -> Unfairness:
    """Whether the ratio holds for an image that is asked after other work, too."""
    unfair = "A small model told in a loop that keeps it in the caches."
    first, latency = (number(study.headline, key) for key in ("first_ratio", "latency_ratio"))
    if first is None or latency is None:
        return Unfairness("A warm clock", unfair, "First passes after other work were not compared.", "open")
    done = f"The headline's {times(latency)} is of images asked one after another; of one that is asked after other "
    done += f"work, with cold caches on both sides, it is {times(first)}."
    return Unfairness("A warm clock", unfair, done, "held" if first >= WARM_SHARE * latency else "broken")


def search(study: Study) -> Unfairness:
    done = (
        "Sizes and recipes of the project's GANs were searched on the validation split of Fashion-MNIST; of the "
        "language model one size was tried. Work on the runtime went on for the GANs after the language model's had "
        "ended: its calls from Python, one a token, are estimated to cost it some per cent."
    )
    held: Held = "broken" if of_kind(study, "student") else "open"
    return Unfairness("Search on one side", "Tuning one side until it just meets the other.", done, held)


def shared_teacher(study: Study) -> Unfairness:
    shares = study.language.get("shares")
    unfair = "A model of many conditions against specialists of one."
    if not isinstance(shares, Mapping):
        return Unfairness(
            "Generalist and specialist", unfair, "What the language model was told is not recorded.", "open"
        )
    told = listed([f"{share:.0%} {what}" for what, share in shares.items()])
    done = f"The language model learned from {told}; each student from one of them alone."
    held: Held = "held" if shares.get("classes") == 1 else "broken"
    return Unfairness("Generalist and specialist", unfair, done, held)


RULES: Sequence[Callable[[Study], Unfairness]] = (
    selection,
    one_training,
    several,
    search,
    shared_teacher,
    baseline,
    warm_clock,
    same_threads,
    same_forms,
    own_quality,
    guidance,
    whole_path,
    cold_start,
    training,
    reconstruction,
    one_extractor,
    the_bank,
)
