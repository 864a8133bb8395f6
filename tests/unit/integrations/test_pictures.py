"""Learning curves and the strip of samples: functions of the trainer's files, to the byte."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from ganline.images import grid, png_bytes, save_png
from ganline.integrations.curves import BLUE, VERMILION, apart, broken, curves, figures, panels, smooth
from ganline.integrations.evolution import cut, kimg, moments, strip, strip_of


def history(lines: int = 60) -> list[dict[str, float]]:
    """Lines as the trainer writes them: penalties on some ticks only, a last tick of one step."""
    told = []
    for k in range(1, lines + 1):
        line = {"step": 10 * k, "nimg": 320 * k, "loss_D": 0.5 + 0.1 / k, "loss_G": 1 + 2 / k}
        line |= {"logits_real": 1.0 + 0.01 * k, "logits_fake": -0.5}
        told.append(line | ({"r1": 0.2, "r2": 0.1} if k % 2 else {}))
    return told


def colours(picture: np.ndarray) -> set[str]:
    return {"#" + bytes(pixel).hex().upper() for pixel in np.unique(picture.reshape(3, -1).T, axis=0)}


PRINT_DIGEST = """
import hashlib, sys
from ganline.images import png_bytes
from ganline.integrations.curves import curves
from tests.unit.integrations.test_pictures import history
print(hashlib.sha256(png_bytes(curves(history()))).hexdigest())
"""


def test_equal_histories_give_equal_bytes_in_another_process_and_under_another_style() -> None:
    here = png_bytes(curves(history()))
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20, "lines.linestyle": ":", "savefig.dpi": 30}):
        styled = dict(mpl.rcParams)
        assert png_bytes(curves(history())) == here
        assert dict(mpl.rcParams) == styled  # and the caller's style is left as it was
    env = os.environ | {"PYTHONHASHSEED": "7", "MPLBACKEND": "svg"}
    there = subprocess.run([sys.executable, "-c", PRINT_DIGEST], capture_output=True, text=True, check=True, env=env)
    assert there.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_a_png_of_curves_holds_pixels_and_nothing_else() -> None:
    content = png_bytes(curves(history()))
    for chunk in (b"tEXt", b"iTXt", b"tIME", b"zTXt"):
        assert chunk not in content


def test_another_value_gives_another_picture() -> None:
    other = history()
    other[30]["loss_G"] += 0.5
    assert not np.array_equal(curves(history()), curves(other))


def test_no_history_and_one_line_are_pictures_too() -> None:
    none, one = curves([]), curves(history(1))
    assert none.dtype == one.dtype == np.uint8
    assert none.min() < 128 < none.max()  # it says that there is none
    assert {BLUE, VERMILION} <= colours(one)  # a lone point is a dot
    assert curves([{"step": 0, "nimg": 0, "loss_D": 1.0}]).shape == curves([{"step": 0, "nimg": 9, "r1": 1.0}]).shape


def test_what_cannot_be_drawn_is_left_out() -> None:
    strange = {"step": 700, "nimg": 20_000, "loss_D": float("nan"), "loss_G": float("inf"), "note": "x"}
    lines = [*history(), strange]
    assert np.array_equal(curves(lines), curves(history()))


def test_panels_are_losses_logits_penalties_then_the_rest_by_prefix() -> None:
    lines = history()
    lines[3] |= {"watch_fd": 80.0, "grad_norm_G": 1.0, "watch_entropy": 2.2, "grad_norm_D": 3.0, "augment_p": 0.1}
    drawn = {panel.title: panel.labels for panel in panels(lines)}
    assert list(drawn.items()) == [
        ("Losses", ("D", "G")),
        ("Logits, mean", ("real", "fake")),
        ("Squared gradient norms", ("r1", "r2")),
        ("Augment p", ("",)),
        ("Grad norm", ("D", "G")),
        ("Watch fd", ("",)),
        ("Watch entropy", ("",)),
    ]


def test_the_picture_grows_by_a_panel_and_keeps_a_phones_width() -> None:
    few, more = curves(history()), curves([line | {"watch_fd": 2.0} for line in history()])
    assert few.shape[2] == more.shape[2] == 900
    assert more.shape[1] > few.shape[1]


def test_smoothing_keeps_constants_and_lines_and_counts_a_short_tick_for_little() -> None:
    x = np.arange(1.0, 241.0)
    assert np.allclose(smooth(x, np.full(240, 3.0)), 3.0)
    assert np.allclose(smooth(x, 2 * x)[20:-20], 2 * x[20:-20])  # centred: no lag
    outlier = np.full(240, 1.0)
    outlier[-1] = 100.0
    short = x.copy()
    short[-1] = short[-2] + 1e-6
    assert smooth(short, outlier)[-1] < 1.01 < smooth(x, outlier)[-1]


def test_a_gap_in_the_history_is_a_gap_in_the_line() -> None:
    x = np.array([1.0, 2, 3, 4, 20, 21, 22])
    gapped, y = broken(x, x)
    assert np.isnan(gapped).tolist() == [False] * 4 + [True] + [False] * 3
    assert np.isnan(y).sum() == 1
    whole, _ = broken(x[:4], x[:4])
    assert not np.isnan(whole).any()


@pytest.mark.parametrize("heights", [[0.5, 0.5], [0.0, 0.01, 0.02], [1.0, 0.99], [0.2, 0.8], [0.4, 0.1, 0.42, 0.41]])
def test_labels_keep_their_order_and_do_not_touch(heights) -> None:
    moved = apart(heights, 0.1)
    assert np.diff(np.sort(moved)).min() >= 0.1 - 1e-9
    assert [np.argsort(moved, kind="stable").tolist()] == [np.argsort(heights, kind="stable").tolist()]


@pytest.mark.parametrize(
    "value, text",
    [(0.584, "0.584"), (12.34, "12.3"), (1234.5, "1,234"), (0, "0.0"), (-0.0068, "−0.0068"), (4.1e-5, "4.1e−5")],
)
def test_figures_are_short(value, text) -> None:
    assert figures(value) == text


def test_moments_hold_both_ends_and_are_denser_early() -> None:
    clocks = [20_000 * k for k in range(1, 101)]
    chosen = moments(clocks, 10)
    assert len(chosen) == 10
    assert (chosen[0], chosen[-1]) == (clocks[0], clocks[-1])
    assert chosen == sorted(set(chosen))
    gaps = np.diff(chosen)
    assert gaps[-1] > 5 * gaps[0]


@pytest.mark.parametrize("count", range(14))
def test_few_moments_are_all_shown_and_many_never_run_short(count) -> None:
    clocks = [1000 + k for k in range(count)]
    assert moments(clocks, 10) == clocks if count <= 10 else len(set(moments(clocks, 10))) == 10


def test_clocks_are_told_in_kimg() -> None:
    assert [kimg(nimg) for nimg in (0, 512, 1984, 250_016, 2_500_000)] == ["0", "0.5", "2", "250", "2,500"]


def frames(channels: int, clocks: list[int], *, side: int = 16) -> dict[int, np.ndarray]:
    """64 latents a moment: latent i at moment k is one flat colour of its own."""
    levels = np.arange(64, dtype=np.uint8)[:, None, None, None]
    return {
        clock: np.broadcast_to(levels + 64 * k, (64, channels, side, side)).astype(np.uint8)
        for k, clock in enumerate(clocks)
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_the_strip_shows_latents_down_and_moments_across(channels) -> None:
    picture = strip(frames(channels, [2_000, 20_000, 200_000]), rows=4)
    assert picture.dtype == np.uint8 and picture.shape[0] == channels
    pitch = (16 + 1) * 6  # 16 px enlarged to 96, and the line between
    height, width = picture.shape[1:]
    for row in range(4):
        for column in range(3):
            y, x = height - (4 - row) * pitch + 48 - 6, width - (3 - column) * pitch + 48 - 6
            assert (picture[:, y, x] == row + 64 * column).all()
    head = picture[:, : height - 4 * pitch - 6]
    assert (head < 100).any()  # the kimg above the columns


def test_strips_of_equal_frames_are_equal_bytes_and_of_none_a_picture() -> None:
    one, two = (png_bytes(strip(frames(3, [0, 500, 9_000]))) for _ in range(2))
    assert one == two
    assert png_bytes(strip({})).startswith(b"\x89PNG")
    assert one != png_bytes(strip(frames(3, [0, 500, 90_000])))  # the clock is told


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_of_samples_is_cut_into_what_it_was_made_of(channels) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, channels, 28, 28), dtype=np.uint8)
    assert np.array_equal(cut(grid(images)), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_work_folders_sheets_make_the_same_strip_as_their_images(channels, tmp_path) -> None:
    told = frames(channels, [20_000 * k for k in range(1, 4)])
    for clock, images in told.items():
        save_png(tmp_path / f"{clock:010d}.png", grid(images))
    (tmp_path / ".partial-7-0000060000.png").write_bytes(b"torn")
    assert np.array_equal(strip_of(tmp_path), strip(told))
    assert strip_of(tmp_path / "absent").shape[0] == 1
