"""The race and the study's page in a real browser: it plays what was recorded, in real time, and asks for nothing."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ganline.page.race import render_race
from ganline.page.study import render_study
from tests.slow.test_page_in_browser import DESK, PHONE, POLICY, look
from tests.unit.evaluation.page_figures import FASHION, pictures, sheet
from tests.unit.page.study_figures import MACHINE, empty, paintings, recordings, study

CHROMIUM = shutil.which("chromium")  # .ci/run installs it: only a machine without it leaves these out
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.timeout(300),
]

NUM = 12
LONG = "a_model_whose_name_is_far_longer_than_any_phone_is_wide_and_has_no_place_to_break"

# A headless browser is done when the page has loaded. A picture that the server holds back keeps it loading, in real
# time, until `play` says that it has seen enough. The frame's own policy stays in force.
WATCH = """<!doctype html><meta charset="utf-8"><body>
<iframe width="{width}" height="1400" srcdoc="{page}"></iframe><pre id="seen"></pre><img src="{server}/hold">
<script>
const frame = document.querySelector("iframe");
const sleep = ms => new Promise(done => setTimeout(done, ms));
const until = async (test) => {{ for (let i = 0; i < 2000 && !test(); i++) await sleep(10); return test(); }};
const painted = canvas => {{  // share of opaque pixels, and the mean of their red
  const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let opaque = 0, red = 0;
  for (let i = 0; i < bytes.length; i += 4) if (bytes[i + 3] === 255) {{ opaque++; red += bytes[i]; }}
  return [opaque / (bytes.length / 4), opaque ? red / opaque : null];
}};
(async () => {{
  const seen = {{}};
  await until(() => frame.contentDocument?.documentElement?.dataset.ready);
  const page = frame.contentDocument, $ = id => page.getElementById(id);
  const state = () => ({{
    teacher: Number($("teacher-clock").textContent), student: Number($("student-clock").textContent),
    teacherCount: Number($("teacher-count").textContent), studentCount: Number($("student-count").textContent),
    tokens: $("tokens").value, button: $("play").textContent, status: $("status").textContent,
    teacherDone: painted($("teacher-done")), studentDone: painted($("student-done")), now: painted($("teacher-now")),
  }});
  const seek = to => {{ $("position").value = to; $("position").dispatchEvent(new Event("input")); }};
  const speed = value => page.querySelector(`input[value="${{value}}"]`).click();
  {play}
  seen.requests = frame.contentWindow.performance.getEntriesByType("resource").map(each => each.name);
  document.getElementById("seen").textContent = JSON.stringify(seen);
}})().catch(error => {{ document.getElementById("seen").textContent = JSON.stringify({{ error: String(error) }}); }})
  .finally(() => {{ new Image().src = "{server}/done"; }});
</script>"""


def race(num: int = NUM, **shape: Any) -> str:
    painted = paintings(num, **{key: value for key, value in shape.items() if key != "tokens"})
    return render_race(
        recordings(num, **shape),
        painted,
        dataset="fashion-mnist",
        teacher="ONNX Runtime, int8, batch 1",
        student="ONNX Runtime, int8, batch 1",
        machine=MACHINE,
        threads=1,
        captions=[FASHION[k % 10] for k in range(num)],
    )


def watch(play: str, folder: Path, *, calm: bool = False) -> dict[str, Any]:
    """What a browser sees while `play`, JavaScript, works the page's controls."""
    assert CHROMIUM is not None
    with holding() as server:
        around = folder / "around.html"
        page = html.escape(race())
        around.write_text(WATCH.format(width=DESK, page=page, server=server, play=play), encoding="utf-8")
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ]
        options += ["--disable-quic", "--disable-component-update", "--disable-sync"]
        options += [f"--user-data-dir={folder / 'profile'}", f"--window-size={DESK + 100},1500"]
        options += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        options += ["--force-prefers-reduced-motion"] if calm else []
        done = subprocess.run(
            [CHROMIUM, *options, "--dump-dom", around.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    found = re.search(r'<pre id="seen">(\{.*?\})</pre>', done.stdout, flags=re.DOTALL)
    assert found, f"the browser told nothing: {done.stderr[-2000:]}"
    seen = dict(json.loads(html.unescape(found[1])))
    assert "error" not in seen, seen["error"]
    return seen


@contextmanager
def holding() -> Iterator[str]:
    """A server on this machine that answers /hold once /done was asked for."""
    enough = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/done":
                enough.set()
            enough.wait(60)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        enough.set()
        server.shutdown()
        server.server_close()


def test_it_plays_in_real_time_to_the_end(tmp_path: Path) -> None:
    seen = watch(
        """seen.before = state();
        const from = performance.now();
        $("play").click();
        await until(() => $("play").textContent === "Play again");
        seen.took = performance.now() - from;
        seen.after = state();
        $("restart").click();
        seen.again = state();""",
        tmp_path,
    )
    total = sum(each.done_ms for each in recordings(NUM))
    before, after, again = seen["before"], seen["after"], seen["again"]
    assert before["teacherCount"] == before["studentCount"] == 0 and before["teacherDone"][0] == 0
    assert after["teacherCount"] == after["studentCount"] == NUM
    assert after["teacher"] == pytest.approx(total, abs=0.06)
    assert after["student"] == pytest.approx(sum(each.ms for each in paintings(NUM)), abs=0.06)
    assert total - 20 <= seen["took"] <= total + 2000  # a busy machine draws late, never early
    assert "by then the language model had painted 0 images and" in after["status"]
    assert after["teacherDone"] == after["studentDone"] and after["teacherDone"][0] > 0.6  # discs on either side
    assert again["teacherCount"] == 0 and again["teacherDone"][0] == 0 and again["status"] == ""
    assert seen["requests"] == []


def test_any_moment_shows_what_was_there_by_then(tmp_path: Path) -> None:
    first = recordings(NUM)[0]
    seen = watch(
        f"seek({first.times_ms[9] + 0.001}); seen.tenth = state();"
        f"seek({first.times_ms[9] - 0.01}); seen.ninth = state();"
        f"seek({first.done_ms + 0.001}); seen.whole = state();",
        tmp_path,
    )
    assert (seen["ninth"]["tokens"], seen["tenth"]["tokens"]) == (9, 10)
    assert seen["tenth"]["now"][0] == 1 and seen["tenth"]["now"][1] == pytest.approx(first.images[9].mean(), abs=0.5)
    assert seen["tenth"]["teacherCount"] == 0 and seen["tenth"]["studentCount"] == NUM
    assert seen["whole"]["teacherCount"] == 1 and seen["whole"]["tokens"] == 0


def test_slower_is_slower_and_pause_holds_the_clocks(tmp_path: Path) -> None:
    seen = watch(
        """speed("0.01"); const from = performance.now(); $("play").click(); await sleep(600); $("play").click();
        seen.real = performance.now() - from; seen.paused = state(); await sleep(300); seen.later = state();""",
        tmp_path,
    )
    assert 0 < seen["paused"]["teacher"] <= seen["real"] / 100 + 0.1
    assert seen["paused"]["button"] == "Play" and seen["later"] == seen["paused"]


def test_less_motion_is_respected(tmp_path: Path) -> None:
    seen = watch(
        """let changes = 0; new MutationObserver(() => changes++).observe($("teacher-clock"), {childList: true});
        seen.note = !$("calm").hidden; speed("0.1"); $("play").click(); await sleep(1400);
        seen.changes = changes; seen.moving = state();""",
        tmp_path,
        calm=True,
    )
    assert seen["note"] and 1 <= seen["changes"] <= 4 and seen["moving"]["teacher"] > 0


PAGES: dict[str, Any] = {
    "race": race,
    "race in colour": lambda: race(3, channels=3, size=32, tokens=64),
    "study": lambda: render_study(study(), pictures={"teacher": sheet(8, 10), "s3": sheet(8, 10), **pictures()}),
    "study of nothing": lambda: render_study(empty(), pictures={}),
    "study of long names": lambda: render_study(
        study(
            dataset=LONG,
            machine={"device": LONG},
            failed={LONG: LONG},
            bank={LONG: LONG},
            likelihood={LONG: {"nats_per_token": 2.0}},
            verdict={"words": LONG},
        ),
        pictures={LONG: sheet(8, 10)},
    ),
}


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_or_is_asked_for(name: str, width: int, tmp_path: Path) -> None:
    seen = look(POLICY.sub("", PAGES[name]()), tmp_path, width=width)
    assert seen["scroll"] <= width, seen["outside"]
    assert seen["outside"] == [] and seen["requests"] == []
    assert all(corner == 255 for corner, *_ in seen["images"])


def test_light_and_dark_follow_the_reader(tmp_path: Path) -> None:
    for page in (race(1), render_study(study(), pictures={})):
        grounds = [look(page, tmp_path, dark=dark)["ground"] for dark in (False, True)]
        assert grounds == ["rgb(246, 247, 249)", "rgb(18, 21, 27)"]
