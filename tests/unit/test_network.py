"""Proxies and servers that the environment names: what is wrong with them is said in seconds, with no password."""

from __future__ import annotations

import importlib.util
import os
import time
from contextlib import nullcontext

import pytest

from ganline import network
from ganline.environment import bypass_proxies_on_loopback
from ganline.errors import ConfigError
from ganline.network import NoAnswer, ProxyDown, ask, check_proxies, proxy_for
from tests.unit import servers


@pytest.fixture(autouse=True)
def no_proxy_of_the_environment(monkeypatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("no_proxy", "NO_PROXY"):  # what the function under test sets is taken back
        monkeypatch.setenv(name, "")
    network.refusal.cache_clear()


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(network, "SECONDS", 0.5)


@pytest.mark.parametrize(
    ("server", "scheme", "reason"),
    [
        (servers.refusing, "http", "refused"),
        (servers.silent, "http", "no.* within 0.5 s"),
        (servers.mail, "http", "does not speak http"),
        (lambda: servers.web({}), "https", "does not speak https"),
        (lambda: nullcontext("no-such-host.invalid"), "http", "not known|no answer within"),
        (lambda: nullcontext("somewhere"), "ftp", "no URL that begins"),
        (lambda: nullcontext(""), "http", "no URL that begins"),
        (lambda: nullcontext("host:port"), "http", "no URL"),
        (lambda: nullcontext("[::1:4200"), "http", "no URL"),
    ],
)
def test_a_server_that_does_not_answer_is_told_apart_in_seconds(impatient, server, scheme, reason) -> None:
    started = time.monotonic()
    with server() as place, pytest.raises(NoAnswer, match=reason):
        ask("GET", f"{scheme}://{place}/")
    assert time.monotonic() - started < 4


def test_any_answer_is_an_answer() -> None:
    with servers.web({"/": (503, "later")}) as place:
        assert ask("GET", f"http://{place}/").status_code == 503


@pytest.mark.parametrize("server", [servers.refusing, servers.silent, servers.mail])
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_dead_proxy_is_named_without_its_password(monkeypatch, impatient, server, variable, scheme) -> None:
    with server() as place:
        monkeypatch.setenv(variable, f"{scheme}me:secret@{place}")
        with pytest.raises(ProxyDown, match=f"the proxy (http://)?{place} of {variable} fails") as caught:
            ask("GET", "http://published.invalid/x")
    assert "secret" not in str(caught.value)


def test_a_living_proxy_is_used(monkeypatch) -> None:
    with servers.web({"http://published.invalid/x": (200, "passed on")}) as place:
        monkeypatch.setenv("http_proxy", f"http://{place}")
        assert ask("GET", "http://published.invalid/x").text == "passed on"


def test_a_dead_proxy_is_waited_for_once(monkeypatch, impatient) -> None:
    asked = []
    monkeypatch.setattr(network, "connect", lambda *place: asked.append(place) or (_ for _ in ()).throw(NoAnswer("no")))
    monkeypatch.setenv("http_proxy", "http://10.255.255.1:3128")
    for _ in range(3):
        with pytest.raises(ProxyDown):
            ask("GET", "http://published.invalid/x")
    assert asked == [("10.255.255.1", 3128)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"no_proxy": "localhost,127.0.0.1,::1", "NO_PROXY": "localhost,127.0.0.1,::1"}),
        (
            {"NO_PROXY": "a.host, .intern"},
            {
                "no_proxy": "a.host,.intern,localhost,127.0.0.1,::1",
                "NO_PROXY": "a.host,.intern,localhost,127.0.0.1,::1",
            },
        ),
        ({"no_proxy": "a", "NO_PROXY": "b,localhost"}, {"no_proxy": "a,localhost,127.0.0.1,::1"}),
        ({"no_proxy": "*"}, {"no_proxy": "*", "NO_PROXY": "*"}),
    ],
)
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"])
def test_loopback_is_reached_without_a_proxy_and_what_the_user_set_stays(monkeypatch, variable, before, after) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    bypass_proxies_on_loopback()
    bypass_proxies_on_loopback()  # a child does it again
    assert {name: os.environ[name] for name in after} == after


def test_without_a_proxy_nothing_is_set() -> None:
    bypass_proxies_on_loopback()
    assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == ("", "")


def test_http_clients_of_the_line_reach_loopback_and_nothing_else_past_a_dead_proxy(monkeypatch) -> None:
    import httpx

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    bypass_proxies_on_loopback()
    with servers.web({"/": (200, "here")}) as place:
        for host in (place, place.replace("127.0.0.1", "localhost")):
            assert ask("GET", f"http://{host}/").text == "here"
            assert httpx.get(f"http://{host}/").text == "here"
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://published.invalid/")
    assert proxy_for("http://[::1]:5000/") is None
    assert proxy_for("http://published.invalid/") == ("http_proxy", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    "value", ["socks://127.0.0.1:1", "socks4://h:1", "gopher://h", "http://", "http://h:port", "http://[::1"]
)
def test_a_proxy_that_the_libraries_cannot_read_is_refused_by_name(monkeypatch, value) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(ConfigError, match="ALL_PROXY"):
        check_proxies()


@pytest.mark.parametrize("value", ["me:s#cret@h:1", "http://me:s/cret@h:1", "socks4://me:s#cret@h:1"])
def test_a_wrong_proxy_is_named_without_its_password(monkeypatch, value) -> None:
    monkeypatch.setenv("http_proxy", value)
    with pytest.raises(ConfigError, match="h:1") as caught:
        check_proxies()
    assert "cret" not in str(caught.value)


def test_a_certificate_that_is_no_file_is_named(monkeypatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    with servers.web({}) as place:
        for verify in (True, "/no/such.pem"):
            with pytest.raises(NoAnswer, match=r"/no/such\.pem"):
                ask("GET", f"https://{place}/", verify=verify)


@pytest.mark.parametrize("value", ["host:3128", "http://me:pw@host:3128", "https://host", "http://[::1]:3128"])
def test_a_usual_proxy_is_taken(monkeypatch, value) -> None:
    monkeypatch.setenv("https_proxy", value)
    check_proxies()


@pytest.mark.parametrize("there", [True, False])
def test_a_socks_proxy_needs_what_speaks_socks(monkeypatch, there) -> None:
    monkeypatch.setenv("all_proxy", "socks5h://me:secret@127.0.0.1:1080")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if there else None)
    with nullcontext() if there else pytest.raises(ConfigError, match="is not installed") as caught:
        check_proxies()
    if not there:
        assert "secret" not in str(caught.value) and "pip install" in caught.value.remedy
