"""Every kind of provider, on small files and a web server of the test's own."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ganline import network
from ganline.data import download, providers
from ganline.data.archives import PublishedFile, Unavailable, Unreachable
from ganline.data.chain import all_mirrors, obtain
from ganline.data.providers import Layout, Provider, archive_site, debian_package, installed, mirror, site
from ganline.errors import FetchError
from tests.unit import servers

IMAGES, LABELS = b"images" * 1000, b"labels" * 100
FILES = tuple(PublishedFile(n, hashlib.sha256(c).hexdigest(), len(c)) for n, c in (("a", IMAGES), ("b", LABELS)))
CONTENT = {"a": IMAGES, "b": LABELS}
LAYOUT = Layout(folders=("", "deep/raw"), archive="all.tar.gz", inside="set", max_archive_bytes=1 << 20)


def archive_bytes(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Web:
    """A server whose answers are set by path; `troubles` are answered first, one a request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.troubles: dict[str, list[int | str]] = {}
        self.asked: Counter[str] = Counter()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked[self.path] += 1
                trouble = web.troubles.get(self.path, [])
                kind = trouble.pop(0) if trouble else None
                if isinstance(kind, int) or self.path not in web.files:
                    self.send_error(kind if isinstance(kind, int) else 404)
                    return
                body = web.files[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if kind == "break" else body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "*")
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield web
    web.server.shutdown()
    web.server.server_close()


def served(provider: Provider, folder: Path) -> dict[str, bytes]:
    provider.serve(FILES, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("place", ["", "deep/raw"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_mirror_folder_is_searched_at_its_root_and_in_the_usual_folder(tmp_path: Path, place: str, end: str) -> None:
    root, out = tmp_path / "mirror", tmp_path / "out"
    out.mkdir()
    (root / place).mkdir(parents=True, exist_ok=True)
    for name, content in CONTENT.items():
        (root / place / f"{name}{end}").write_bytes(gzip.compress(content) if end else content)
    assert served(mirror(str(root), LAYOUT), out) == CONTENT


def test_a_wrong_file_at_the_root_does_not_hide_the_right_one_below(tmp_path: Path) -> None:
    root, out = tmp_path / "mirror", tmp_path / "out"
    out.mkdir()
    (root / "deep/raw").mkdir(parents=True)
    for name, content in CONTENT.items():
        (root / name).write_bytes(b"another data set with the same names")
        (root / "deep/raw" / name).write_bytes(content)
    assert served(mirror(str(root), LAYOUT), out) == CONTENT


def test_a_mirror_may_hold_the_archive(tmp_path: Path) -> None:
    root, out = tmp_path / "mirror", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    (root / "all.tar.gz").write_bytes(archive_bytes({"set/a": IMAGES, "set/b": LABELS}))
    assert served(mirror(str(root), LAYOUT), out) == CONTENT


def test_one_damaged_file_does_not_cost_the_others(tmp_path: Path) -> None:
    root, out = tmp_path / "mirror", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    (root / "a").write_bytes(IMAGES[:-1] + b"?")
    (root / "b").write_bytes(LABELS)
    with pytest.raises(Unavailable, match="a is damaged"):
        installed(root).serve(FILES, out)
    assert {path.name for path in out.iterdir()} == {"b"}


def test_a_web_mirror_is_searched_like_a_folder(tmp_path: Path, web: Web) -> None:
    web.files = {"/x/deep/raw/a": IMAGES, "/x/b.gz": gzip.compress(LABELS)}
    assert served(mirror(f"{web.url}/x/", LAYOUT), tmp_path) == CONTENT


def test_an_archive_site_is_asked_once_for_all_files(tmp_path: Path, web: Web) -> None:
    web.files = {"/all.tar.gz": archive_bytes({"set/a": IMAGES, "set/b": LABELS})}
    assert served(archive_site(web.url, LAYOUT), tmp_path) == CONTENT
    assert web.asked == {"/all.tar.gz": 1}


def test_a_busy_server_is_asked_again(tmp_path: Path, web: Web) -> None:
    web.files = {f"/{name}.gz": gzip.compress(content) for name, content in CONTENT.items()}
    web.troubles = {"/a.gz": [503, 503]}
    assert served(site(web.url), tmp_path) == CONTENT
    assert web.asked["/a.gz"] == 3


def test_a_transfer_that_breaks_off_is_begun_again(tmp_path: Path, web: Web) -> None:
    web.files = {f"/{name}.gz": gzip.compress(content) for name, content in CONTENT.items()}
    web.troubles = {"/a.gz": ["break"]}
    assert served(site(web.url), tmp_path) == CONTENT
    assert web.asked["/a.gz"] == 2


def test_a_server_that_always_breaks_off_is_given_up(tmp_path: Path, web: Web) -> None:
    web.files = {"/a.gz": gzip.compress(IMAGES)}
    web.troubles = {"/a.gz": ["break"] * 9}
    with pytest.raises(Unreachable, match="broke off 3 times"):
        site(web.url).serve(FILES, tmp_path)
    assert web.asked == {"/a.gz": 3}


def test_a_longer_answer_than_announced_is_cut(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "OVERHEAD_BYTES", 10)
    web.files = {"/a.gz": os.urandom(len(IMAGES) + 11), "/b.gz": gzip.compress(LABELS)}
    with pytest.raises(Unavailable, match="longer than 6010 bytes"):
        site(web.url).serve(FILES, tmp_path)


def test_an_unreachable_server_is_asked_once_and_its_credentials_stay_secret(tmp_path: Path, web: Web) -> None:
    port = web.server.server_address[1]
    web.server.server_close()
    provider = mirror(f"http://user:secret@127.0.0.1:{port}/x?token=secret", LAYOUT)
    with pytest.raises(Unreachable, match=r"cannot connect to 127\.0\.0\.1") as caught:
        provider.serve(FILES, tmp_path)
    assert "secret" not in f"{caught.value} {provider.name}"


def test_a_mirror_of_another_scheme_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="http://"):
        mirror("ftp://somewhere/x", LAYOUT).serve(FILES, tmp_path)


@pytest.fixture
def fake_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """apt-get and dpkg-deb as small scripts; every call of apt-get is a line in a log."""
    tools = tmp_path / "bin"
    tools.mkdir()
    zipped = {f"./usr/share/set/{name}.gz": gzip.compress(content) for name, content in CONTENT.items()}
    (tmp_path / "content.tar").write_bytes(gzip.decompress(archive_bytes(zipped)))

    def install(apt: str) -> Path:
        log = tmp_path / "calls"
        for name, body in (
            ("apt-get", f'echo "$@" >> {log}\n{apt}'),
            ("dpkg-deb", f"cat {tmp_path}/content.tar"),
        ):
            (tools / name).write_text(f"#!/bin/sh\n{body}\n")
            (tools / name).chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        return log

    return install


def test_a_debian_package_is_unpacked_without_installing_it(tmp_path: Path, fake_apt: Callable[[str], Path]) -> None:
    log = fake_apt("touch set_1_all.deb")
    out = tmp_path / "out"
    out.mkdir()
    assert served(debian_package("set", inside="usr/share/set"), out) == CONTENT
    assert [line.split()[-2:] for line in log.read_text().splitlines()] == [["download", "set"]]


@pytest.mark.parametrize(("user", "calls"), [(0, ["set", "update", "set"]), (1000, ["set"])])
def test_apt_lists_are_updated_once_and_only_by_root(
    tmp_path: Path, fake_apt: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, user: int, calls: list[str]
) -> None:
    log = fake_apt('echo "E: Unable to locate package set" >&2; exit 100')
    monkeypatch.setattr(providers.os, "geteuid", lambda: user)
    with pytest.raises(Unavailable, match="apt-get failed: E: Unable to locate package set"):
        # `update` fails in the same way here, so the second download is never reached.
        debian_package("set", inside="usr/share/set").serve(FILES, tmp_path)
    assert [line.split()[-1] for line in log.read_text().splitlines()] == calls[:2]


def test_a_download_after_an_update_is_used(tmp_path: Path, fake_apt: Callable[[str], Path], monkeypatch) -> None:
    listed = tmp_path / "listed"
    fake_apt(
        f'for last; do :; done\nif [ "$last" = update ]; then touch {listed}; exit 0; fi\n'
        f"[ -e {listed} ] || exit 100\ntouch set.deb"
    )
    monkeypatch.setattr(providers.os, "geteuid", lambda: 0)
    out = tmp_path / "out"
    out.mkdir()
    assert served(debian_package("set", inside="usr/share/set"), out) == CONTENT


def test_a_system_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no apt-get"):
        debian_package("set", inside="usr").serve(FILES, tmp_path)


def holder(name: str, content: dict[str, bytes], asked: list[str]) -> Provider:
    def serve(wanted, folder: Path) -> None:
        asked.append(f"{name}: {','.join(file.name for file in wanted)}")
        for file in wanted:
            if file.name in content:
                (folder / file.name).write_bytes(content[file.name])
        if len(content) < len(wanted):
            raise Unavailable("not all there")

    return Provider(name, serve)


def test_providers_are_asked_in_order_for_what_is_still_missing(tmp_path: Path) -> None:
    asked: list[str] = []
    chain = [holder("first", {"b": LABELS}, asked), holder("second", CONTENT, asked), holder("third", CONTENT, asked)]
    assert obtain("Set", FILES, chain, tmp_path) == {"b": "first", "a": "second"}
    assert asked == ["first: a,b", "second: a"]


def test_when_all_fail_one_error_names_each_provider_its_reason_and_the_way_out(tmp_path: Path) -> None:
    chain = [holder("first", {}, []), mirror(str(tmp_path / "nowhere"), LAYOUT)]
    with pytest.raises(FetchError) as caught:
        obtain("Set", FILES, chain, tmp_path)
    text = str(caught.value)
    assert "1. first: not all there" in text
    assert f"2. mirror {tmp_path / 'nowhere'}: no such folder" in text
    assert FILES[0].sha256 in text and "GANLINE_MIRROR" in text and "PRESET=digits" in text


def test_mirrors_of_the_environment_follow_the_configured_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANLINE_MIRROR", "/b, https://c ,,/a")
    assert all_mirrors(("/a",)) == ("/a", "/b", "https://c")


@pytest.mark.parametrize("server", [servers.refusing, servers.silent])
def test_a_dead_proxy_is_named_once_for_all_addresses_and_folders_still_serve(tmp_path, monkeypatch, server) -> None:
    monkeypatch.setattr(network, "SECONDS", 0.5)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("a", "b"):
        (tmp_path / "mirror" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "mirror" / name).write_bytes(CONTENT[name])
    (tmp_path / "out").mkdir()
    sites = [site("https://one.invalid"), site("https://two.invalid"), debian_package("some-data", "usr/share")]
    with server() as place:
        monkeypatch.setenv("https_proxy", f"http://me:secret@{place}")
        monkeypatch.setenv("http_proxy", f"http://me:secret@{place}")
        started = time.monotonic()
        with pytest.raises(FetchError, match=f"the proxy http://{place} of https_proxy fails") as caught:
            obtain("set", FILES, sites, tmp_path / "out")
        assert time.monotonic() - started < 10
        assert caught.value.remedy.startswith("correct or unset http")
        assert "secret" not in str(caught.value)
        obtain("set", FILES, [*sites, mirror(str(tmp_path / "mirror"), LAYOUT)], tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == IMAGES


@pytest.mark.parametrize(
    ("address", "reason"), [("https://{}/x", r"/no/such\.pem"), ("https://me:secret@[::1/x", "https://.*no URL")]
)
def test_a_certificate_that_is_no_file_and_a_url_that_is_none_are_told(tmp_path, monkeypatch, address, reason) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    with servers.web({}) as place, pytest.raises(FetchError, match=reason) as caught:
        obtain("set", FILES, [mirror(address.format(place), LAYOUT)], tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pw@host/a?token=1#x", "https://host/a"),
        ("https://me:p/w@host/a", "https://host/a"),
        ("me:pw@host:1", "host:1"),
    ],
)
def test_a_url_is_shown_without_password_and_query(url, shown) -> None:
    assert download.public(url) == shown
