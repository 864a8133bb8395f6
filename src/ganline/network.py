"""Whether a server that the environment names answers, and the proxy on the way there, within seconds."""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from http.client import HTTPConnection, HTTPException
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from ganline.errors import ConfigError, GanlineError
from ganline.sharing import SCHEME, public_address, without_userinfo

if TYPE_CHECKING:
    from requests import Response

SECONDS = 5.0
HTTP = ("http", "https")
SOCKS = ("socks5", "socks5h")
DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
T = TypeVar("T")


class NoAnswer(Exception):
    """A server or a proxy does not answer as it should; the text says how, without any password."""


class ProxyDown(NoAnswer):
    """The proxy on the way to a server does not answer, or refuses to pass on."""

    def __init__(self, variable: str, proxy: str, reason: str):
        self.variable = variable
        super().__init__(f"the proxy {public_address(proxy)} of {variable} fails: {reason}")


def parsed(url: str) -> SplitResult:
    """The parts of a URL, its port readable. Raises NoAnswer, where urllib raises ValueError."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise NoAnswer("it is no URL") from None
    return parts


def parsed_proxy(proxy: str) -> SplitResult:
    """The parts of a proxy's URL, whose http:// may be missing. Raises NoAnswer."""
    return parsed(proxy if SCHEME.match(proxy) else f"http://{proxy}")


def named_proxies() -> dict[str, str]:
    """Variable -> URL of every proxy that the environment names, as it is spelled there."""
    return {name: value for name, value in os.environ.items() if name.lower() in PROXY_VARIABLES and value.strip()}


def check_proxies() -> None:
    """Raise ConfigError for a proxy that the libraries cannot even read: their HTTP clients refuse to start with it."""
    for name, value in named_proxies().items():
        known = (*HTTP, *SOCKS)
        try:
            parts = parsed_proxy(value)
        except NoAnswer:
            parts = SplitResult("", "", "", "", "")
        if parts.scheme not in known or not parts.hostname or parts.port == 0:
            raise ConfigError(
                f"{name}={public_address(value)} is no proxy that the libraries of the line can use",
                expected="HOST:PORT, or a URL that begins with " + ", ".join(f"{scheme}://" for scheme in known),
                remedy=f"correct {name} (GNOME's socks:// is socks5://), or unset it",
            )
        if parts.scheme in SOCKS and not all(map(importlib.util.find_spec, ("socksio", "socks"))):
            raise ConfigError(
                f"{name}={public_address(value)} is a SOCKS proxy, and what speaks SOCKS is not installed",
                remedy=f"pip install 'httpx[socks]' 'requests[socks]', or unset {name}",
            )


def proxy_for(url: str) -> tuple[str, str] | None:
    """(variable, proxy) through which requests would reach a URL; None where it goes there directly."""
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    named = [name for name, value in named_proxies().items() if value == proxy]
    return (named[0] if named else "the system's settings"), proxy


def check_proxy_for(url: str) -> None:
    """Raise ProxyDown if the proxy on the way to a URL accepts no connection. Each proxy is asked once a process.

    Raises NoAnswer if it is no URL.
    """
    parsed(url)
    if (found := proxy_for(url)) and (reason := refusal(found[1])):
        raise ProxyDown(*found, reason)


@lru_cache
def refusal(proxy: str) -> str | None:
    """Why a proxy takes no requests; None if it does."""
    try:
        parts = parsed_proxy(proxy)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
        connect(host, port)
        if parts.scheme == "http":
            within(lambda: ping(host, port))
    except NoAnswer as error:
        return str(error)
    except (OSError, HTTPException) as error:
        return reason_of(error)
    return None


def ping(host: str, port: int) -> None:
    """Ask an HTTP proxy for what it has to answer itself (RFC 9110, section 7.6.2): a 400 or a 407 will do."""
    connection = HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("OPTIONS", "*", headers={"Max-Forwards": "0"})
        connection.getresponse()
    except TimeoutError:
        raise NoAnswer(REASONS["ReadTimeout"].format(seconds=SECONDS)) from None
    except ConnectionError:  # closed without a word: whether it passes anything on, the request itself will show
        pass
    finally:
        connection.close()


def connect(host: str, port: int) -> None:
    """Open a TCP connection and close it. Raises NoAnswer."""

    def attempt() -> None:
        socket.create_connection((host, port), timeout=SECONDS).close()

    try:
        within(attempt)
    except OSError as error:
        raise NoAnswer(reason_of(error)) from error


def ask(method: str, url: str, **options: Any) -> Response:
    """An HTTP answer, whatever it says. Raises NoAnswer within seconds, ProxyDown where the proxy is to blame."""
    import requests

    parts = parsed(url)
    if parts.scheme not in HTTP or not parts.hostname:
        raise NoAnswer("it is no URL that begins with http:// or https://")
    check_proxy_for(url)
    try:
        return within(lambda: requests.request(method, url, timeout=SECONDS, **options))
    except (NoAnswer, OSError, ValueError) as error:  # of requests; OSError alone for a certificate that is no file
        reason = str(error) if isinstance(error, NoAnswer) else reason_of(error)
        if proxy := proxy_for(url):
            raise ProxyDown(*proxy, reason) from error
        raise NoAnswer(reason) from error


@contextmanager
def must_answer(error_type: type[GanlineError], server: str, variable: str, url: str, *, remedy: str) -> Iterator[None]:
    """A NoAnswer in the block becomes an error that names the variable which points there."""
    try:
        yield
    except NoAnswer as error:
        raise error_type(
            f"the {server} server of {variable}={public_address(url)} does not answer: {without_userinfo(str(error))}",
            expected=f"a running {server} server where {variable} points",
            remedy=remedy,
        ) from error


def within(act: Callable[[], T]) -> T:
    """What `act` returns or raises; NoAnswer if it takes longer (a name server, a server that sends byte by byte)."""
    answers: Queue[tuple[T | None, Exception | None]] = Queue()

    def work() -> None:
        try:
            answers.put((act(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True, name="ask").start()
    try:
        answer, error = answers.get(timeout=SECONDS + 0.5)
    except Empty:
        raise NoAnswer(f"no answer within {SECONDS:g} s") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # one of the two is set


REASONS: Mapping[str, str] = {
    "ConnectTimeoutError": "no answer within {seconds:g} s",
    "ReadTimeoutError": "it accepts connections, and answers nothing within {seconds:g} s",
    "ReadTimeout": "it accepts connections, and answers nothing within {seconds:g} s",
    "TimeoutError": "no answer within {seconds:g} s",
    "NameResolutionError": "its host name is not known",
    "gaierror": "its host name is not known",
    "ConnectionRefusedError": "the connection is refused",
    "SSLError": "it does not speak https there, or its certificate is not trusted",
    "BadStatusLine": "what answers there does not speak http",
    "LocationParseError": "it is no URL",
    "InvalidURL": "it is no URL",
}


def reason_of(error: BaseException) -> str:
    """The cause at the bottom of a chain of exceptions, in plain words; its class where there are none for it.

    A plain OSError is known by its text only, such as that of requests on a certificate that is no file.
    """
    chain = list(causes(error))
    for cause in reversed(chain):
        if words := REASONS.get(type(cause).__name__):
            return words.format(seconds=SECONDS)
    return without_userinfo(str(chain[-1])) if type(chain[-1]) is OSError else type(chain[-1]).__name__


def causes(error: BaseException | None) -> list[BaseException]:
    """An exception and those that it wraps, the outermost first: urllib3 keeps them as `reason` or as an argument."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        wrapped = [getattr(error, "reason", None), *error.args]
        inner = next((item for item in wrapped if isinstance(item, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
    return found
