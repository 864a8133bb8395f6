"""Servers on loopback that answer in every wrong way, each for as long as a `with` lasts. Each yields host:port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answers = Mapping[str, tuple[int, str]]


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def refusing() -> Iterator[str]:
    """Nobody listens there."""
    yield f"127.0.0.1:{free_port()}"


@contextmanager
def silent() -> Iterator[str]:
    """Accepts connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def mail() -> Iterator[str]:
    """Speaks, but not HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=work, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def web(answers: Answers, asked: list[str] | None = None) -> Iterator[str]:
    """An HTTP server: path -> (status, text), 404 for others. `asked` collects request lines and logins."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if asked is not None:
                asked.append(f"{self.command} {self.path} {self.headers.get('Authorization', '')}".strip())
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = answers.get(self.path, (404, "no such page"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_HEAD = answer

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
