"""The webhook over real HTTP on loopback: what is sent, what an answer means, and that the URL stays secret."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ao_pipeline.adapters.channels.webhook import WebhookChannel
from ao_pipeline.errors import PermanentError, TransientError

SECRET = "s3cret-key"


class Receiver(ThreadingHTTPServer):
    """Keeps what it was sent and answers with `status`; 0 drops the connection, -1 never answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.received: list[tuple[dict[str, list[str]], Any]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/spaces/x/messages?key={SECRET}&token=t"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((parse_qs(urlsplit(self.path).query), body))
        if self.server.status == -1:
            self.server.released.wait(10)
        if self.server.status <= 0:
            self.close_connection = True
            return
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def channel(receiver: Receiver) -> WebhookChannel:
    return WebhookChannel(receiver.url, connect_timeout_seconds=1, read_timeout_seconds=0.3)


def test_a_message_carries_its_key_and_keeps_the_urls_own_query(receiver: Receiver) -> None:
    with channel(receiver) as webhook:
        webhook.send("k&1", "Title", "Body")

    assert receiver.received == [({"key": [SECRET], "token": ["t"], "requestId": ["k&1"]}, {"text": "*Title*\nBody"})]


def test_words_of_a_mail_cannot_command_the_chat(receiver: Receiver) -> None:
    with channel(receiver) as webhook:
        webhook.send("k", "Hi <users/all>", "x" * 9000)

    text = receiver.received[0][1]["text"]
    assert "<" not in text
    assert len(text) == 4000


@pytest.mark.parametrize("status", [408, 429, 500, 503, 0, -1])
def test_a_passing_failure_is_transient(receiver: Receiver, status: int) -> None:
    receiver.status = status

    with channel(receiver) as webhook, pytest.raises(TransientError):
        webhook.send("k", "Title", "")

    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404])
def test_a_refusal_is_permanent(receiver: Receiver, status: int) -> None:
    receiver.status = status

    with channel(receiver) as webhook, pytest.raises(PermanentError, match=f"answered {status}"):
        webhook.send("k", "Title", "")


@pytest.mark.parametrize("status", [404, 500, 0])
def test_no_error_shows_the_url(receiver: Receiver, status: int) -> None:
    receiver.status = status

    with channel(receiver) as webhook, pytest.raises((TransientError, PermanentError)) as caught:
        webhook.send("k", "Title", "")

    shown = "".join(traceback.format_exception(caught.value)) + repr(webhook) + repr(caught.value.details)
    assert SECRET not in shown
    assert "spaces" not in shown


def test_a_proxy_of_the_machine_never_sees_the_url(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    with channel(receiver) as webhook:
        webhook.send("k", "Title", "")

    assert len(receiver.received) == 1


@pytest.mark.parametrize("url", ["", "ftp://x.example/", "chat.example/webhook", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(PermanentError, match="AO_WEBHOOK_URL"):
        WebhookChannel(url)
