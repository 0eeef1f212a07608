"""A server that answers what a test recorded, by path; the pages of one path in turn, the last one for ever."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa

from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.addresses import URL_FIELDS
from ao_pipeline.collect.result import Collected
from ao_pipeline.sandbox.identity import load_service_account
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import SPECS, START

TOKEN = {"access_token": "t", "expires_in": 3599, "token_type": "Bearer"}


@dataclass
class Recorded:
    """Answers by path, and the settings with which every source is read from here."""

    url: str
    folder: Path
    answers: dict[str, list[Any]] = field(default_factory=dict)

    def settings(self) -> Settings:
        """Return settings whose every source is this server."""
        path = self.folder / "key.json"
        if not path.exists():
            body, _, _ = load_service_account(path, token_uri=f"{self.url}/token")
            path.write_text(json.dumps(body))
        urls = {name: self.url for source, name in URL_FIELDS.items() if source != "webhook"}
        more = {"xero_token_url": f"{self.url}/token", "google_credentials_file": path, "data_dir": self.folder}
        return Settings(**(urls | more), gmail_mailboxes="ops@agency.example", call_attempts=1)

    def play(self, **answers: Any) -> None:
        """Answer these from now on: a path's last words, and one body or a list of them."""
        self.answers = {name: body if isinstance(body, list) else [body] for name, body in answers.items()}

    def next(self, path: str) -> Any:
        """Return the next answer to a path, None for an unknown one."""
        if path.endswith("/token"):
            return TOKEN
        name = path.partition("?")[0].rstrip("/").rpartition("/")[2]
        pages = self.answers.get(name)
        return None if not pages else pages.pop(0) if len(pages) > 1 else pages[0]

    def collect(
        self, asset: str, *, cursor: dict[str, Any] | None = None, stored: list[dict[str, Any]] | None = None
    ) -> Collected:
        """Collect one asset from here."""
        keys = pa.Table.from_pylist(stored or [], schema=SPECS[asset].key_schema)
        return collect(asset, settings=self.settings(), cursor=cursor, stored_keys=lambda: keys, now=START)


@contextmanager
def recorded_server(folder: Path) -> Iterator[Recorded]:
    """Serve on a free loopback port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = recorded.next(self.path)
            body = json.dumps(answer if answer is not None else {"error": {"code": 404}}).encode()
            self.send_response(200 if answer is not None else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    recorded = Recorded(f"http://127.0.0.1:{server.server_port}", folder)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield recorded
    finally:
        server.shutdown()
        server.server_close()
