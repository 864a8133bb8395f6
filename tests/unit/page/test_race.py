"""The race's page: what was recorded is in it, exactly; it is one file, and its policy names its one script."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganline.errors import DataError
from ganline.page.race import STRIP_ROWS, Painting, render_race, strip
from tests.unit.page.study_figures import MACHINE, paintings, recordings

FORM = "ONNX Runtime, int8, batch 1"


def race(num: int = 4, **changed: Any) -> str:
    given: dict[str, Any] = {
        "dataset": "fashion-mnist",
        "teacher": FORM,
        "student": FORM,
        "machine": MACHINE,
        "threads": 1,
    }
    lanes = (changed.pop("recordings", None) or recordings(num), changed.pop("students", None) or paintings(num))
    return render_race(*lanes, **(given | changed))


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="recording">(.*?)</script>', html, flags=re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def words(html: str) -> str:
    """The text between the tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub("<[^>]+>", "", body).split())


def pixels(source: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as opened:
        return np.asarray(opened)


def test_times_and_images_are_those_that_were_recorded() -> None:
    given, painted = recordings(3), paintings(3)
    data = embedded(race(recordings=given, students=painted))
    for told, recorded in zip(data["teacher"], given, strict=True):
        assert told["times"] == pytest.approx(recorded.times_ms, abs=5e-4)
        assert told["done"] == pytest.approx(recorded.done_ms, abs=5e-4)
        assert (pixels(told["strip"]).reshape(49, 28, 28) == recorded.images[:, 0]).all()
    assert data["student"]["done"] == [each.ms for each in painted]
    assert (pixels(data["student"]["strip"]).reshape(3, 28, 28) == np.stack([each.image[0] for each in painted])).all()


def test_the_policy_allows_the_one_script_and_nothing_from_elsewhere() -> None:
    html = race()
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 1
    told = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{told}'" in html
    assert not re.search(r"https?://|@import|url\(", html)
    assert not re.search(r'\son\w+="', html)


def test_it_says_what_ran_where_and_that_it_is_a_recording() -> None:
    text = words(race(threads=2, notes=["A note."]))
    assert "a recording" in text and MACHINE in text and "2 threads" in text and text.count(FORM) == 2
    assert "does not make the model itself faster" in text and "A note." in text
    assert "0.2715 ms" in text  # the median of 0.270 to 0.273


def test_equal_recordings_give_equal_bytes() -> None:
    assert race() == race()


@pytest.mark.parametrize("shape", [{}, {"channels": 3, "size": 32, "tokens": 64}])
def test_sixty_images_stay_below_two_megabytes(shape: dict[str, int]) -> None:
    painted = paintings(60, **{key: value for key, value in shape.items() if key != "tokens"})
    assert len(race(recordings=recordings(60, **shape), students=painted)) < 2e6


def test_long_strips_go_on_in_a_second_column() -> None:
    images = np.arange(3 * STRIP_ROWS // 2, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 3), np.uint8)
    whole = strip(images)
    assert whole.shape == (1, STRIP_ROWS * 2, 6)
    assert (whole[0, :2, 3:] == STRIP_ROWS).all() and (whole[0, -2:, :3] == STRIP_ROWS - 1).all()


def test_sides_that_are_not_alike_are_refused() -> None:
    with pytest.raises(DataError, match="4 and 3 images"):
        race(recordings=recordings(4), students=paintings(3))
    with pytest.raises(DataError, match="in sizes"):
        race(recordings=recordings(2), students=paintings(2, size=32))
    with pytest.raises(DataError, match="captions"):
        race(captions=["one"])
    with pytest.raises(DataError, match="0 and 0"):
        render_race([], [], dataset="", teacher="", student="", machine="", threads=1)


def test_captions_cannot_leave_their_script() -> None:
    html = race(num=1, captions=["</script><script>alert(1)</script>"], machine="<b>x</b>")
    assert "<script>alert" not in html and "<b>x</b>" not in html
    assert embedded(html)["captions"] == ["</script><script>alert(1)</script>"]


def test_a_recording_whose_times_fall_is_no_recording() -> None:
    good = recordings(1)[0]
    with pytest.raises(AssertionError):
        replace(good, done_ms=good.times_ms[-1] - 1)
    assert Painting(good.images[-1], 0.3).image.shape == (1, 28, 28)
