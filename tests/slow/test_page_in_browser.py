"""The pages in a real browser: nothing leaves them, nothing overflows a phone, every picture is painted."""

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

from tests.unit.evaluation.page_figures import fashion, pictures, thousand, unlabelled, useful
from tests.unit.evaluation.test_page import comparison, report

CHROMIUM = shutil.which("chromium")  # .ci/run installs it: only a machine without it leaves these out
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.timeout(300),
]

PHONE, DESK = 390, 1200
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
LONG = "a_class_whose_name_is_far_longer_than_any_phone_is_wide_and_has_no_place_to_break"

# A browser's window cannot be as narrow as a phone, so the page stands in a frame of that width. Its document is of the
# same origin as the one around it, which looks inside: a page without scripts cannot tell anything by itself.
LOOK = """<!doctype html><meta charset="utf-8"><body>
<iframe width="{width}" height="900" srcdoc="{page}"></iframe><pre id="seen"></pre>
<script>
addEventListener("load", () => {{
  const frame = document.querySelector("iframe"), page = frame.contentDocument;
  const corner = image => {{  // opacity of the last pixel, 255 where a whole picture was painted
    if (!image.naturalWidth) return 0;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const brush = canvas.getContext("2d");
    brush.drawImage(image, 0, 0);
    return brush.getImageData(canvas.width - 1, canvas.height - 1, 1, 1).data[3];
  }};
  const outside = [...page.body.querySelectorAll("*")].filter(each =>
    !each.closest(".strip, svg, thead") && each.getBoundingClientRect().right > {width} + 0.5);
  const seen = {{
    width: frame.contentWindow.innerWidth,
    scroll: page.documentElement.scrollWidth,
    outside: outside.map(each => each.tagName + "." + each.className),
    images: [...page.images].map(image => [corner(image), image.naturalWidth, image.getAttribute("width")]),
    requests: frame.contentWindow.performance.getEntriesByType("resource").map(each => each.name),
    ground: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
  }};
  frame.remove();
  document.getElementById("seen").textContent = JSON.stringify(seen);
}});
</script>"""


def look(page: str, folder: Path, *, width: int = PHONE, dark: bool = False) -> dict[str, Any]:
    """What a browser finds in a page: sizes, pictures, requests, colours."""
    around = folder / "around.html"
    around.write_text(LOOK.format(width=width, page=html.escape(page)), encoding="utf-8")
    assert CHROMIUM is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width + 100},1000"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", around.as_uri()]
    done = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="seen">(\{.*?\})</pre>', done.stdout, flags=re.DOTALL)
    assert found, f"the browser told nothing: {done.stderr[-2000:]}"
    return dict(json.loads(html.unescape(found[1])))


def long_names() -> str:
    """Names without a place to break, everywhere."""
    metrics = fashion()
    metrics["fd"]["name"] = f"fd_{LONG}"
    metrics["label_accuracy"]["per_class"] = {LONG: 0.4, "b": 0.9}
    metrics["class_coverage"] |= {"missing": [LONG], "num_missing": 1}
    metrics["extractors"]["first"]["name"] = LONG
    return report(metrics, title=LONG, model={"data set": LONG})


PAGES: dict[str, Any] = {
    "report": lambda: report(fashion(recall=0.41, c_t=-4.0)),
    "colour": lambda: report(fashion(), pictures=pictures(channels=3)),
    "unlabelled": lambda: report(unlabelled(), usefulness={"not_measured": "the data has no labels"}),
    "thousand": lambda: report(thousand(), usefulness=useful()),
    "long names": long_names,
    "comparison": comparison,
    "comparison of long names": lambda: comparison(names=(LONG, LONG + "2")),
}


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_is_missing_or_is_asked_for(name: str, width: int, tmp_path: Path) -> None:
    page = PAGES[name]()
    seen = look(POLICY.sub("", page), tmp_path, width=width)
    assert seen["width"] == width
    assert seen["scroll"] <= width, seen["outside"]
    assert seen["outside"] == []
    assert len(seen["images"]) == page.count("<img ") > 0
    assert all(corner == 255 and natural == int(told) for corner, natural, told in seen["images"])
    assert seen["requests"] == []


def test_light_and_dark_follow_the_reader(tmp_path: Path) -> None:
    page = report(fashion())
    grounds = [look(page, tmp_path, dark=dark)["ground"] for dark in (False, True)]
    assert grounds == ["rgb(246, 247, 249)", "rgb(18, 21, 27)"]


def test_the_browser_sees_what_is_too_wide_or_broken(tmp_path: Path) -> None:
    """The measurements themselves: they do find fault with a bad page."""
    bad = report(fashion()).replace(
        "</main>", '<div style="width: 900px">wide</div><img src="data:image/png;base64,AA"></main>'
    )
    seen = look(bad, tmp_path)
    assert seen["scroll"] > PHONE and "DIV." in seen["outside"]
    assert seen["images"][-1][0] == 0


def test_a_picture_from_elsewhere_would_be_seen_and_the_policy_of_the_page_stops_it(tmp_path: Path) -> None:
    with recorder() as (address, asked):
        leak = report(fashion()).replace("</main>", f'<img src="{address}/leak.png"></main>')
        assert look(POLICY.sub("", leak), tmp_path)["requests"] == [f"{address}/leak.png"]
        assert asked == ["/leak.png"]
        asked.clear()
        look(leak, tmp_path)
        assert asked == []


@contextmanager
def recorder() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
