"""How things are called, as data: nouns, sentences that are trained on, sentences and words that never are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# Label, in lower case -> noun. Others are cleaned: "T-shirt/top" -> "t-shirt", "hot_dog" -> "hot dog".
NOUNS: Mapping[str, str] = {"trouser": "pair of trousers"}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Noun -> another name for it, which is never trained on.
SYNONYMS: Mapping[str, str] = {
    "t-shirt": "tee",
    "pair of trousers": "pair of pants",
    "pullover": "sweater",
    "dress": "gown",
    "coat": "jacket",
    "sandal": "open shoe",
    "shirt": "blouse",
    "sneaker": "running shoe",
    "bag": "handbag",
    "ankle boot": "short boot",
    "airplane": "aircraft",
    "automobile": "car",
    "bird": "songbird",
    "cat": "kitten",
    "deer": "stag",
    "dog": "puppy",
    "frog": "toad",
    "horse": "pony",
    "ship": "boat",
    "truck": "lorry",
} | {name: f"number {number}" for number, name in enumerate(DIGITS)}

# {np}: adjectives and noun; {a}: the same with its article; {noun}, {a_noun}: without adjectives; {adj}: adjectives
# joined by "and". First those for things that have adjectives, then those for the thing alone; as many of each.
TRAINED = (
    ("{a}", "{a}"),
    ("{np}", "{np}"),
    ("{noun}, {adj}", "simply {a}"),
    ("a picture of {a}", "a picture of {a}"),
    ("a photo of {a}", "a photo of {a}"),
    ("this is {a}", "this is {a}"),
    ("{a_noun} that is {adj}", "the {np}"),
    ("an image showing {a}", "an image showing {a}"),
    ("draw {a}", "draw {a}"),
    ("the {noun} is {adj}", "it is {a}"),
)
# Not looked at before the first full study: no setting was chosen by them. Four others were, while the recipe was
# chosen, and were replaced for that (docs/decisions/006).
HELD_OUT = (
    ("could you make {a}", "could you make {a}"),
    ("we see {a_noun}, rather {adj}", "we see {a_noun} here"),
    ("the drawing depicts {a}", "the drawing depicts {a}"),
    ("generate {a} now", "generate {a} now"),
)
# Sentences that are trained on, with a noun that is not; then with adjectives that are not.
OTHER_WORDS = (("{a}", "{a}"), ("a picture of {a}", "a picture of {a}"))


def nouns(labels: Sequence[str]) -> tuple[str, ...]:
    """What the classes are called. Where two would be called the same, both keep their whole label."""
    short = [noun(label) for label in labels]
    whole = [cleaned(label) for label in labels]
    return tuple(name if short.count(name) == 1 else full for name, full in zip(short, whole, strict=True))


def noun(label: str) -> str:
    """One class: a digit as a word, several as several, others by table or up to the first slash or comma."""
    if label.isdecimal() and label.isascii():
        return " ".join(DIGITS[int(digit)] for digit in label)
    name = cleaned(re.split(r"[/,;|(]", label)[0]) or cleaned(label)
    return NOUNS.get(name, name)


def cleaned(label: str) -> str:
    """Lower case, with single spaces for underscores and all that is no letter, digit, hyphen or apostrophe."""
    return re.sub(r"[^\w'-]+|_+", " ", label).strip().lower() or label


def with_article(phrase: str) -> str:
    """By the first letter, but for words that begin as "one" and "unit" are spoken."""
    vowel = phrase[0] in "aeiou" and not re.match(r"(one|uni|use|eu)", phrase)
    return f"{'an' if vowel else 'a'} {phrase}"


def sentence(template: tuple[str, str], name: str, adjectives: Sequence[str]) -> str:
    """One phrasing of a thing with its adjectives, if any."""
    phrase = " ".join([*adjectives, name])
    words = {"np": phrase, "a": with_article(phrase), "noun": name, "a_noun": with_article(name)}
    return template[0 if adjectives else 1].format(**words, adj=" and ".join(adjectives))
