"""HTTP downloads: short time-outs, a few retries with back-off, a cap on bytes, a progress bar on terminals.

requests is imported when something is downloaded: every command reads this module with the sources of data.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tqdm import tqdm

from ganline.data.archives import CHUNK, ProxyFails, Unavailable, Unreachable
from ganline.network import NoAnswer, ProxyDown, check_proxy_for, proxy_for, reason_of
from ganline.sharing import public_address

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

TIMEOUT_S = (5.0, 30.0)  # to connect, between two packets
ATTEMPTS = 3


def public(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    return re.split("[?#]", public_address(url))[0]


@contextmanager
def open_session(*, backoff_s: float = 0.5) -> Iterator[requests.Session]:
    """A session that tries a refused connection twice and a busy server four times."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    retry = Retry(
        total=3,
        connect=1,
        read=2,
        backoff_factor=backoff_s,
        status_forcelist=(429, 500, 502, 503, 504),
        respect_retry_after_header=False,  # a server may ask for hours
        raise_on_status=False,
    )
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        yield session


def download(session: requests.Session, url: str, path: Path, *, max_bytes: int, backoff_s: float = 0.5) -> None:
    """Save the bytes at a URL; a transfer that breaks off is begun again, up to three times in all."""
    import requests

    for attempt in range(ATTEMPTS):
        try:
            check_proxy_for(url)
            return _transfer(session, url, path, max_bytes=max_bytes)
        except ProxyDown as error:
            raise ProxyFails(str(error), error.variable) from error
        except NoAnswer as error:
            raise Unavailable(f"{public(url)}: {error}") from error
        except requests.exceptions.ProxyError as error:
            raise _proxy_fails(url, error) from error
        except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError) as error:
            raise Unreachable(f"cannot connect to {urlsplit(url).hostname} ({type(error).__name__})") from error
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ReadTimeout, _BrokenOff) as error:
            log.info("%s broke off (%s), attempt %d of %d", public(url), type(error).__name__, attempt + 1, ATTEMPTS)
            time.sleep(backoff_s * 2**attempt)
        except requests.exceptions.ConnectionError as error:
            raise Unreachable(f"cannot connect to {urlsplit(url).hostname} ({_cause(error)})") from error
        except requests.exceptions.RequestException as error:
            raise Unavailable(f"{public(url)}: {type(error).__name__}") from error
    raise Unreachable(f"{urlsplit(url).hostname} broke off {ATTEMPTS} times")


def _proxy_fails(url: str, error: Exception) -> ProxyFails:
    """A proxy that answers, and does not pass on: it wants a login, or forbids the address."""
    variable, proxy = proxy_for(url) or ("http_proxy", "")
    return ProxyFails(f"the proxy {public(proxy)} of {variable} fails ({_cause(error)})", variable)


class _BrokenOff(Exception):
    """The connection ended before the bytes that the server announced had come (urllib3 counts them)."""


def _transfer(session: requests.Session, url: str, path: Path, *, max_bytes: int) -> None:
    with _get(session, url) as response:
        if response.status_code in (404, 410):
            raise Unavailable(f"has no {public(url)}")
        if response.status_code != 200:
            raise Unavailable(f"{public(url)} answers {response.status_code} {response.reason}")
        size = 0
        with path.open("wb") as file, _bar(url, int(response.headers.get("Content-Length", 0))) as bar:
            while block := _read(response):
                size += len(block)
                if size > max_bytes:
                    raise Unavailable(f"{public(url)} is longer than {max_bytes} bytes")
                file.write(block)
                bar.update(len(block))


def _get(session: requests.Session, url: str) -> requests.Response:
    import requests

    try:
        # The bytes as they lie on the server: a .gz file must not be unpacked on the way, its checksum comes later.
        return session.get(url, stream=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"})
    except requests.exceptions.RequestException:
        raise
    except OSError as error:  # REQUESTS_CA_BUNDLE names no file
        raise Unavailable(f"{public(url)}: {reason_of(error)}") from error


def _read(response: requests.Response) -> bytes:
    import requests
    import urllib3

    try:
        return response.raw.read(CHUNK, decode_content=False)
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.exceptions.ReadTimeout from error
    except urllib3.exceptions.HTTPError as error:
        raise _BrokenOff from error


def _bar(url: str, total: int) -> tqdm:
    name = urlsplit(url).path.rpartition("/")[2]
    return tqdm(total=total or None, unit="B", unit_scale=True, unit_divisor=1024, desc=name, disable=None, leave=False)


def _cause(error: Exception) -> str:
    """The name of what lies at the bottom: NameResolutionError says more than ConnectionError."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return type(reason or error).__name__
