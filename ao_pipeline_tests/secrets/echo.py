"""An upstream that fails and quotes the request in its answer: the address, every header, the body."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import override

Reply = tuple[int, str, bytes, dict[str, str]]


@dataclass
class Echo:
    """What arrived, as proof that the secrets were on the wire."""

    port: int
    authorizations: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def url(self, way: str) -> str:
        """Return the base URL of an upstream that fails in one of `WAYS`."""
        return f"http://127.0.0.1:{self.port}/{way}"


def _page(status: int) -> Callable[[str], Reply]:
    return lambda quoted: (
        status,
        "text/html",
        f"<html><h1>{status}</h1><pre>{html.escape(quoted)}</pre></html>".encode(),
        {},
    )


def _google(status: int, reason: str) -> Callable[[str], Reply]:
    def reply(quoted: str) -> Reply:
        entry = {"message": quoted, "domain": quoted, "reason": reason, "location": quoted}
        body = {
            "error": {
                "code": status,
                "message": quoted,
                "errors": [entry],
                "status": quoted,
                "details": [{"reason": quoted}],
            }
        }
        return status, "application/json", json.dumps(body).encode(), {"Retry-After": quoted[:40].replace("\n", " ")}

    return reply


def _oauth(quoted: str) -> Reply:
    body = {
        "error": "invalid_client",
        "error_description": quoted,
        "error_uri": quoted,
        "Detail": quoted,
        "Type": quoted,
    }
    return 401, "application/json", json.dumps(body).encode(), {"WWW-Authenticate": 'Basic realm="echo"'}


def _mirror(quoted: str) -> Reply:
    return 200, "application/json", json.dumps({"headers": quoted, "url": quoted}).encode(), {}


def _truncated(quoted: str) -> Reply:
    return 200, "application/json", json.dumps({"data": [{"gid": quoted}]}).encode()[:-4], {}


def _redirect(quoted: str) -> Reply:
    return 302, "text/html", b"", {"Location": f"http://127.0.0.1:9/?echo={quoted.encode().hex()}"}


WAYS: dict[str, Callable[[str], Reply]] = {
    "page-401": _page(401),
    "page-500": _page(500),
    "page-200": _page(200),
    "google-403": _google(403, "insufficientPermissions"),
    "google-429": _google(429, "rateLimitExceeded"),
    "oauth-401": _oauth,
    "mirror-200": _mirror,
    "truncated-200": _truncated,
    "redirect-302": _redirect,
}


@contextmanager
def echo_server() -> Iterator[Echo]:
    """Serve every way of failing until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
            quoted = f"{self.command} {self.path}\n{self.headers}\n{body}"
            echo.texts.append(quoted)
            if self.headers.get("Authorization"):
                echo.authorizations.append(self.headers["Authorization"])
            status, kind, answer, headers = WAYS[self.path.split("/")[1].split("?")[0]](quoted)
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.do_GET()

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Write nothing: what this server prints would be found as a leak."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        @override
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away in the middle is what many of these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    echo = Echo(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield echo
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
