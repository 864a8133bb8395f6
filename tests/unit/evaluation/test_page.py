"""The pages: whole whatever is missing, equal for equal figures, readable without a network, a script or good eyes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganline.errors import DataError
from ganline.evaluation.uncertainty import paired_differences
from ganline.page.classes import SHOWN
from ganline.page.pictures import columns, picture
from ganline.page.render import render_comparison, render_report, seed_ranges
from tests.unit.evaluation.page_figures import (
    FASHION,
    MODEL,
    fashion,
    pictures,
    record,
    sheet,
    thousand,
    unlabelled,
    useful,
)

VOID = {"meta", "link", "img", "br", "circle", "path"}


class Outline(HTMLParser):
    """Tags in order, with their attributes; what is open at the end; the text outside <style>."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(metrics: Mapping[str, Any], **changed: Any) -> str:
    given = {"title": "fashion-mnist 12", "model": MODEL, "usefulness": useful(), "pictures": pictures()}
    return render_report(metrics=metrics, **(given | changed))


def comparison(**changed: Any) -> str:
    before, after = fashion(), fashion(recall=0.61, noise=1.03)
    given: dict[str, Any] = {
        "names": ("shirts 3", "shirts 4"),
        "models": (MODEL, MODEL | {"trained for": "500 kimg"}),
        "metrics": (before, after),
        "differences": paired_differences(before, after),
        "verdict_rows": [
            {"rule": "recall falls by at most 0.05", "bound": "−0.05", "verdict": "failed"},
            {"rule": "Fréchet distance", "bound": "0", "verdict": "passed"},
            {"rule": "modes", "bound": "", "verdict": "not applicable"},
        ],
        "pictures": (pictures(), pictures()),
    }
    return render_comparison(**(given | changed))


def blank(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The same with all that may be null set to null."""
    gone = dict.fromkeys(("floor", "interval", "std", "per_seed", "per_class", "better", "split", "n", "seeds"))
    return {key: each | gone if "value" in each else each for key, each in metrics.items() if isinstance(each, dict)}


PAGES: dict[str, Any] = {
    "good": lambda: report(fashion()),
    "colour": lambda: report(fashion(), pictures=pictures(channels=3)),
    "unlabelled": lambda: report(unlabelled(), usefulness={"not_measured": "the data has no labels"}),
    "thousand classes": lambda: report(thousand()),
    "no usefulness": lambda: report(fashion(), usefulness=None),
    "nulls": lambda: report(blank(fashion())),
    "nothing": lambda: report({}, model={}, usefulness=None, pictures={}),
    "broken values": lambda: report(
        fashion()
        | {"modes": {"name": "m", "value": None}, "class_kl": record("class_kl", 1.0) | {"value": float("inf")}}
    ),
    "comparison": comparison,
    "comparison without verdict": lambda: comparison(verdict_rows=None),
    "comparison of nothing": lambda: comparison(
        metrics=({}, {}), differences={}, verdict_rows=[], pictures=({}, {}), models=({}, {})
    ),
    "comparison of one picture": lambda: comparison(pictures=({"samples": sheet(2, 2)}, {})),
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_whole_alone_and_accessible(name: str) -> None:
    html = PAGES[name]()
    page = Outline(html)
    assert page.open == []
    assert html.startswith("<!doctype html>")
    outside = r"https?:|//[a-z]|url\(|@import|<script|<iframe|<object| on[a-z]+="
    assert not re.search(outside, re.sub(r'base64,[^"]+', "", html).lower()), "leaves the page"
    assert all((each["src"] or "").startswith("data:image/png;base64,") for each in page.all("img"))
    assert [each["href"] for each in page.all("link")] == ["data:,"]
    assert all(each.get("alt") and each.get("width") and each.get("height") for each in page.all("img"))
    assert all(each.get("aria-label") or "aria-hidden" in each for each in page.all("svg"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels)), "a heading level is skipped"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(each["href"] or "")[1:] for each in page.all("a")} <= set(ids), "a link leads nowhere"
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", page.text), "a bare value"


@pytest.mark.parametrize("name", PAGES)
def test_equal_figures_give_equal_bytes(name: str) -> None:
    assert PAGES[name]() == PAGES[name]()


def test_the_order_of_figures_in_the_file_does_not_matter() -> None:
    assert report(dict(reversed(fashion().items()))) == report(fashion())


def test_the_order_of_pictures_does_not_matter() -> None:
    turned = dict(reversed(pictures().items()))
    assert comparison(pictures=(turned, turned)) == comparison()


def test_a_report_shows_value_interval_floor_and_name_of_every_figure() -> None:
    text = Outline(report(fashion())).text
    for key, each in (fashion() | useful()).items():
        if "value" in each:
            assert each["name"] in text, key
    assert "1.08" in text and "1.05 to 1.10" in text and "0.303" in text and "3.6 times the floor" in text


def test_warnings_stand_above_the_pictures() -> None:
    text = Outline(report(fashion(recall=0.41), usefulness=None)).text
    told = text.index("recall is 0.41 where real images score 0.86: parts of the data are missing.")
    assert told < text.index("Samples") < text.index("Nearest training images")
    assert "✕ 1 warning" in text and "✕ grave" in text


def test_a_page_without_floors_does_not_claim_to_be_free_of_warnings() -> None:
    text = Outline(report(unlabelled(), usefulness=None)).text
    assert "no warnings, but not all was judged" in text
    assert "Not judged, because it is not known what real images score: Precision; Recall" in text
    assert "✓ no warnings" in Outline(report(fashion(), usefulness=None)).text


def test_why_usefulness_is_missing_is_said() -> None:
    assert "Not measured: the data has no labels." in Outline(PAGES["unlabelled"]()).text
    assert "Not measured: the data has no labels" not in Outline(PAGES["good"]()).text


def test_classes_come_worst_first() -> None:
    metrics = fashion()
    metrics["class_coverage"] |= {"missing": ["Bag"], "num_missing": 1}
    metrics["class_coverage"]["per_class"]["Bag"] = 0.001
    rows = re.findall(
        r'<th scope="row">([^<]+?)(?: <span class="badge grave">.*?)?</th>', section(report(metrics), "classes")
    )
    assert set(rows) == set(FASHION)
    assert rows[:2] == ["Bag", "Shirt"]
    assert "✕ missing" in section(report(metrics), "classes")


def test_a_class_with_too_few_images_for_a_figure_is_not_called_bad_for_it() -> None:
    metrics = fashion()
    metrics["intra_class_diversity"]["per_class"] |= {"Trouser": None}
    rows = re.findall(r'<th scope="row">([^<]+)', section(report(metrics, usefulness=None), "classes"))
    assert rows[0] == "Shirt" and rows.index("Trouser") > 5


def test_classes_are_not_ranked_by_what_real_images_alone_are_worth() -> None:
    per_class = dict.fromkeys(FASHION, 0.9) | {"Dress": 0.01}
    part = section(report(fashion(), usefulness={"cas_real": record("cas_real", 0.9, per_class=per_class)}), "classes")
    assert re.findall(r'<th scope="row">([^<]+)', part)[0] == "Shirt"
    assert "Trained on real" not in part


def test_of_a_thousand_classes_the_worst_are_shown_and_the_rest_counted() -> None:
    part = section(report(thousand()), "classes")
    rows = re.findall(r'<th scope="row">(\d+)', part)
    assert len(rows) == SHOWN
    assert set(rows[:20]) == set(thousand()["class_coverage"]["missing"])
    assert rows[20:23] == ["017", "666", "710"] or {"017", "666"} <= set(rows[20:24])
    assert f"{1000 - SHOWN} classes with smaller shortfalls" in part


def test_old_metrics_with_a_histogram_and_one_extractor_still_render() -> None:
    old = {
        "extractor": {"name": "classifier_x@1", "validation_accuracy": 0.92, "task": "classifier"},
        "class_coverage": {"name": "class_coverage_x", "value": 1.0, "histogram": {"a": 0.4, "b": 0.6}},
    }
    text = Outline(report(old)).text
    assert "classifier_x@1" in text and "40.00 %" in text


def test_names_from_outside_are_escaped() -> None:
    evil = '<img src=x onerror="alert(1)">'
    metrics = fashion()
    metrics["label_accuracy"]["per_class"] = {evil: 0.1, "b": 0.9}
    metrics["class_coverage"] |= {"missing": [evil]}
    metrics["fd"]["name"] = evil
    html = report(metrics, title=evil, model={evil: evil})
    assert "<img src=x" not in html and "&lt;img src=x" in html
    assert "<img src=x" not in comparison(names=(evil, evil))


def test_paths_hosts_and_times_in_metrics_do_not_reach_the_page() -> None:
    metrics = fashion() | {"made": "2026-01-02T03:04:05", "root": "/home/someone", "host": "node7"}
    metrics["extractors"]["inception2015"] = {"name": "inception2015", "path": "/home/someone/weights.pth"}
    assert not re.search("2026-01|someone|node7", report(metrics))


def test_a_picture_that_is_no_png_is_refused() -> None:
    with pytest.raises(DataError, match="'samples' of a page is no PNG"):
        report(fashion(), pictures={"samples": b"GIF89a"})


def test_an_unknown_picture_is_shown_at_the_end() -> None:
    text = Outline(report(fashion(), pictures={"saliency": sheet(1, 2)})).text
    assert text.index("Classes, worst first") < text.index("saliency") < text.index("Protocol", text.index("saliency"))


def test_tall_charts_are_cut_between_the_charts_and_lose_no_row() -> None:
    """Nine dark charts with white gaps: three columns of three, none of them cut through."""
    pixels = np.full((900, 90, 3), 255, dtype=np.uint8)
    for k in range(9):
        pixels[100 * k + 50 : 100 * k + 115] = 20  # a third of the height lies inside a chart
    parts = columns(pixels)
    assert len(parts) == 3 and sum(part.height for part in parts) == 900
    tops = np.cumsum([0, *(part.height for part in parts)])[1:3]
    assert all((pixels[top - 1 : top + 1] == 255).all() for top in tops)
    assert len(picture("curves", sheet(10, 3)).parts) == 3
    assert len(picture("curves", sheet(3, 3)).parts) == 1


def test_a_comparison_tells_the_verdict_in_words_and_symbols() -> None:
    text = Outline(comparison()).text
    assert "✕ refused" in text and "1 of 3 rules failed." in text
    assert "✕ failed" in text and "✓ passed" in text and "– not applicable" in text
    assert "✕ refused" not in Outline(comparison(verdict_rows=None)).text


def test_a_comparison_tells_what_surely_changed() -> None:
    text = Outline(comparison()).text
    assert "✕ worserecall fell from 0.79 to 0.61" in text.replace("✕ worse ", "✕ worse")
    assert "noise fell from 1.12 to 1.03: nearer to real images (1.00)" in text
    assert "−0.182 (−0.182 to −0.182)" in text


def test_a_comparison_shows_classes_with_the_largest_changes_first() -> None:
    before, after = fashion(), fashion()
    after["label_accuracy"]["per_class"] = dict(after["label_accuracy"]["per_class"]) | {"Dress": 0.2}
    html = comparison(metrics=(before, after), differences=paired_differences(before, after))
    table = html[html.index("<h3>Label accuracy</h3>") :]
    assert re.findall(r'<th scope="row">([^<]+)', table)[0] == "Dress"


def section(html: str, name: str) -> str:
    """The part of a page with this id."""
    return re.findall(rf'<section class="card" id="{name}">.*?</section>', html, flags=re.DOTALL)[0]


def test_metrics_survive_json() -> None:
    assert report(json.loads(json.dumps(fashion()))) == report(fashion())


def test_the_test_pictures_are_what_they_claim(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(sheet(2, 3, channels=3))
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.size == (180, 120) and opened.mode == "RGB"


def test_seeds_are_told_as_ranges() -> None:
    assert seed_ranges([3, 1, 2, 7, 9, 10]) == "1 to 3, 7, 9 to 10"


def test_the_head_of_a_report_holds_both_distances_and_how_often_each_extractor_is_right() -> None:
    metrics = fashion()
    head = Outline(section(report(metrics), "samples")).text
    assert "Fréchet distance1.083.6 times its floor" in head
    assert "Fréchet distance, holdout extractor1.494.2 times its floor" in head
    for role, called in (("first", "primary"), ("second", "holdout")):
        accuracy = metrics["extractors"][role]["validation_accuracy"]
        assert f"Accuracy, {called} extractor{accuracy:.3f}" in head
