"""The client's promises against a real server that answers what the test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ao_pipeline.adapters.sources.buckets import RateLimit
from ao_pipeline.adapters.sources.classify import retry_after_seconds
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.limits import Budget, RateLimiter
from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.adapters.sources.tokens import FixedToken, GoogleTokens
from ao_pipeline.adapters.sources.walk import asana_records, google_pages
from ao_pipeline.adapters.sources.xero_tokens import XeroTokens
from ao_pipeline.collect.contracts import asana, google
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_XERO_CONTACTS
from ao_pipeline.errors import (
    AoError,
    AuthError,
    BudgetExhaustedError,
    ConfigError,
    ContractError,
    CursorExpiredError,
    PermanentError,
    TransientError,
)
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import FakeTime

SECRET = "secret-token-value"


@dataclass
class Reply:
    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None


@dataclass
class Script:
    """Answers in order, the last one for ever; remembers what was asked."""

    url: str
    replies: list[Reply] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script: Script = self.server.script  # type: ignore[attr-defined]
            script.seen.append((self.path, dict(self.headers)))
            reply = script.next()
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: reply.cut_at])
            self.close_connection = reply.cut_at is not None

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            return None

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            return None  # A client that gave up on purpose.

    made = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def script(server: ThreadingHTTPServer) -> Script:
    made = Script(f"http://127.0.0.1:{server.server_address[1]}")
    server.script = made  # type: ignore[attr-defined]
    return made


def client_of(script: Script, time: FakeTime, source: str = "asana", **settings: Any) -> SourceClient:
    values = {f"{source}_base_url": script.url, **settings}
    return SourceClient(
        source, settings=Settings(**values), tokens=FixedToken(SECRET), sleep=time.sleep, monotonic=time.monotonic
    )


def google_reason(reason: str) -> dict[str, Any]:
    return {"error": {"code": 403, "message": "m", "errors": [{"domain": "usageLimits", "reason": reason}]}}


TAXONOMY = [
    (Reply(429), False, TransientError),
    (Reply(500), False, TransientError),
    (Reply(502, b"<html>Bad Gateway</html>"), False, TransientError),
    (Reply(503), False, TransientError),
    (Reply(408), False, TransientError),
    (Reply(200, b"<html>Sign in</html>"), False, TransientError),
    (Reply(200, b'{"data":['), False, TransientError),
    (Reply(200, {"data": [1, 2, 3]}, cut_at=5), False, TransientError),
    (Reply(200, b""), False, TransientError),
    (Reply(401), False, AuthError),
    (Reply(403, google_reason("rateLimitExceeded")), False, TransientError),
    (Reply(403, google_reason("userRateLimitExceeded")), False, TransientError),
    (Reply(403, google_reason("insufficientPermissions")), False, AuthError),
    (Reply(403, b"no"), False, AuthError),
    (Reply(404), False, PermanentError),
    (Reply(404), True, CursorExpiredError),
    (Reply(410), True, CursorExpiredError),
    (Reply(412), True, CursorExpiredError),
    (Reply(400), True, PermanentError),
    (Reply(402), False, PermanentError),
    (Reply(302, headers={"Location": "https://elsewhere.example/"}), False, PermanentError),
    (Reply(200, b"[" * 100_000), False, TransientError),
]


@pytest.mark.parametrize(("reply", "is_cursor_call", "kind"), TAXONOMY)
def test_each_failure_has_its_kind(
    script: Script, fake_time: FakeTime, reply: Reply, is_cursor_call: bool, kind: type[AoError]
) -> None:
    script.replies = [reply]

    with client_of(script, fake_time) as client, pytest.raises(AoError) as caught:
        client.get("asana.things.list", "/things", {"q": "private-query"}, is_cursor_call=is_cursor_call)

    assert type(caught.value) is kind
    assert len(script.seen) == (4 if kind is TransientError else 2 if reply.status == 401 else 1)
    assert "asana" in str(caught.value)
    for leak in (SECRET, "private-query", script.url, "html"):
        assert leak not in str(caught.value) + str(caught.value.__cause__) + str(caught.value.details)


def test_a_refused_connection_is_transient(fake_time: FakeTime) -> None:
    with client_of(Script("http://127.0.0.1:9"), fake_time) as client, pytest.raises(TransientError) as caught:
        client.get("asana.things.list", "/things", {"q": "private-query"})

    assert "private-query" not in str(caught.value)


def test_a_silent_upstream_times_out(server: ThreadingHTTPServer, script: Script, fake_time: FakeTime) -> None:
    release = threading.Event()

    class Slow(Script):
        def next(self) -> Reply:
            release.wait(5)
            return Reply()

    server.script = Slow(script.url)  # type: ignore[attr-defined]
    client = client_of(script, fake_time, read_timeout_seconds=0.05, call_attempts=1)

    with client, pytest.raises(TransientError, match="Timeout"):
        client.get("asana.things.list", "/things")

    release.set()


def test_a_retry_waits_with_full_jitter_below_a_growing_bound(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply(503), Reply(503), Reply(503), Reply(body={"ok": 1})]

    with client_of(script, fake_time) as client:
        answer = client.get("asana.things.list", "/things")

    assert answer.body == {"ok": 1}
    assert len(fake_time.naps) == 3
    assert all(0 <= nap <= bound for nap, bound in zip(fake_time.naps, (0.25, 0.5, 1.0), strict=True))
    assert (client.counters.requests, client.counters.retries) == (4, 3)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "Fri, 20 Nov 2026 09:00:30 GMT", "Date": "Fri, 20 Nov 2026 09:00:00 GMT"}, 30),
        ({"Retry-After": "Fri, 20 Nov 2026 09:00:30 GMT"}, 20),
        ({"Retry-After": "Fri, 20 Nov 2020 09:00:30 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, now=datetime(2026, 11, 20, 9, 0, 10, tzinfo=UTC)) == seconds


def test_retry_after_is_honoured(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply(429, headers={"Retry-After": "7"}), Reply(body={"ok": 1})]

    with client_of(script, fake_time) as client:
        client.get("asana.things.list", "/things")

    assert fake_time.naps == [7]


def test_a_wait_beyond_the_budget_stops_politely(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply(429, headers={"Retry-After": "66975"})]

    with (
        client_of(script, fake_time, source_budget_seconds=60) as client,
        pytest.raises(BudgetExhaustedError) as caught,
    ):
        client.get("asana.things.list", "/things")

    assert caught.value.details["wait_seconds"] == 66975
    assert fake_time.naps == []
    assert len(script.seen) == 1


def test_no_request_is_sent_after_the_budget(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply()]

    with client_of(script, fake_time, source_budget_seconds=5) as client:
        fake_time.seconds = 6
        with pytest.raises(BudgetExhaustedError):
            client.get("asana.things.list", "/things")

    assert script.seen == []


def test_an_answer_that_loops_is_refused(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply(body={"messages": [{"name": "m"}], "nextPageToken": "same"})]

    with client_of(script, fake_time) as client, pytest.raises(ContractError, match="came twice"):
        list(google_pages(client, google.CHAT_PAGE, "/messages", {}))


def test_an_expired_offset_restarts_its_listing(script: Script, fake_time: FakeTime) -> None:
    first = Reply(body={"data": [{"gid": "1"}], "next_page": {"offset": "a"}})
    last = Reply(body={"data": [{"gid": "2"}], "next_page": None})
    script.replies = [first, Reply(400), first, last]

    with client_of(script, fake_time) as client:
        records = asana_records(client, asana.TASKS_PAGE, "/tasks", {"limit": 1})

    assert [record["gid"] for record in records] == ["1", "2"]


def test_an_empty_page_in_the_middle_is_not_the_end(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply(body={"items": [], "nextPageToken": "a"}), Reply(body={"items": [{"id": "1"}]})]

    with client_of(script, fake_time) as client:
        pages = list(google_pages(client, google.EVENTS_PAGE, "/events", {}))

    assert [len(page.records) for page in pages] == [0, 1]


def test_parallel_failures_reach_the_caller(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply(body={}), Reply(404)]

    with client_of(script, fake_time) as client, pytest.raises(PermanentError):
        client.each(lambda number: client.get("asana.things.get", f"/things/{number}"), range(20))


def test_a_bad_byte_does_not_stop_a_source(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply(body=b'{"name": "caf\xe9"}')]

    with client_of(script, fake_time) as client:
        assert client.get("asana.things.get", "/things").body == {"name": "caf\ufffd"}


def test_the_environments_proxy_is_not_used(
    script: Script, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    script.replies = [Reply(body={"ok": 1})]

    with client_of(script, fake_time) as client:
        assert client.get("asana.things.get", "/things").body == {"ok": 1}


def test_the_rate_limit_spreads_what_exceeds_a_minutes_allowance(fake_time: FakeTime) -> None:
    limiter = RateLimiter(RateLimit(60), monotonic=fake_time.monotonic)
    budget = Budget(600, source="xero", sleep=fake_time.sleep, monotonic=fake_time.monotonic)

    for _ in range(90):
        limiter.acquire("", "xero.invoices.list", budget)

    assert fake_time.seconds == pytest.approx(30)


def test_a_gmail_message_costs_twenty_units(fake_time: FakeTime) -> None:
    limiter = RateLimiter(RateLimit(6_000), monotonic=fake_time.monotonic)
    budget = Budget(600, source="gmail", sleep=fake_time.sleep, monotonic=fake_time.monotonic)

    for _ in range(301):
        limiter.acquire("a@b.example", "gmail.messages.get", budget)
    limiter.acquire("other@b.example", "gmail.messages.get", budget)

    assert fake_time.seconds == pytest.approx(0.2)


def xero_client(script: Script, time: FakeTime) -> SourceClient:
    settings = Settings(
        xero_base_url=script.url, xero_token_url=script.url + "/token", xero_client_secret=SecretStr(SECRET)
    )
    tokens = XeroTokens(settings, monotonic=time.monotonic)
    return SourceClient("xero", settings=settings, tokens=tokens, sleep=time.sleep, monotonic=time.monotonic)


def test_a_token_is_renewed_a_minute_before_it_ends(script: Script, fake_time: FakeTime) -> None:
    script.replies = [Reply(body={"access_token": "a", "expires_in": 100, "Status": "OK"})]

    with xero_client(script, fake_time) as client:
        for second in (0, 39, 40, 41):
            fake_time.seconds = second
            client.get("xero.invoices.list", "/Invoices")

    assert [path for path, _ in script.seen].count("/token") == 2


def test_a_refused_token_is_renewed_once(script: Script, fake_time: FakeTime) -> None:
    token = {"access_token": "a", "expires_in": 1800}
    script.replies = [Reply(body=token), Reply(401), Reply(body=token), Reply(body={"ok": 1})]

    with xero_client(script, fake_time) as client:
        assert client.get("xero.invoices.list", "/Invoices").body == {"ok": 1}

    assert [path for path, _ in script.seen] == ["/token", "/Invoices", "/token", "/Invoices"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(400, {"error": "invalid_client"}), AuthError),
        (Reply(503), TransientError),
        (Reply(200, {"expires_in": 5}), ContractError),
        (Reply(200, b"<html>"), TransientError),
    ],
)
def test_a_token_endpoint_that_fails_is_classified(
    script: Script, fake_time: FakeTime, reply: Reply, kind: type[AoError]
) -> None:
    script.replies = [reply]

    with xero_client(script, fake_time) as client, pytest.raises(kind) as caught:
        client.get("xero.invoices.list", "/Invoices")

    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "{}", '{"client_email": "x"}', "[]"])
def test_an_unusable_service_account_file_is_a_configuration_error(
    script: Script, fake_time: FakeTime, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    tokens = GoogleTokens(path, ("scope",), default_subject="a@b.example", monotonic=fake_time.monotonic)
    settings = Settings(chat_base_url=script.url)
    client = SourceClient(
        "chat", settings=settings, tokens=tokens, sleep=fake_time.sleep, monotonic=fake_time.monotonic
    )

    with client, pytest.raises(ConfigError, match=r"key\.json"):
        client.get("chat.spaces.list", "/spaces")


def xero_page(page: int, *ids: str, count: int) -> Reply:
    pagination = {"page": page, "pageSize": 100, "pageCount": 2, "itemCount": count}
    head = {"Status": "OK", "DateTimeUTC": "/Date(1795165200000)/", "pagination": pagination}
    return Reply(body={**head, "Contacts": [{"ContactID": one, "Name": one} for one in ids]})


def read_contacts(script: Script, time: FakeTime) -> Collected:
    settings = Settings(xero_base_url=script.url, xero_token_url=script.url + "/token")
    return collect(
        "raw/xero_contacts",
        settings=settings,
        cursor=None,
        stored_keys=RAW_XERO_CONTACTS.empty,
        now=datetime(2026, 11, 20, 9, tzinfo=UTC),
        sleep=time.sleep,
        monotonic=time.monotonic,
    )


def test_a_row_pulled_over_a_page_border_is_found_by_walking_again(script: Script, fake_time: FakeTime) -> None:
    token = Reply(body={"access_token": "a", "expires_in": 1800})
    shifted = [xero_page(1, "a", "b", count=3), xero_page(2, "a", count=3)]
    script.replies = [token, *shifted, xero_page(1, "b", "c", count=3), xero_page(2, "a", count=3)]

    result = read_contacts(script, fake_time)

    assert sorted(result.rows.column("contact_id").to_pylist()) == ["a", "b", "c"]
    assert result.cursor["watermark"] == "2026-11-20T08:50:00.000Z"


def test_a_listing_that_never_settles_is_left_for_the_next_cycle(script: Script, fake_time: FakeTime) -> None:
    token = Reply(body={"access_token": "a", "expires_in": 1800})
    script.replies = [token, *[xero_page(1, "a", count=3), xero_page(2, "b", count=3)] * 4]

    with pytest.raises(TransientError, match="changed during 3 walks"):
        read_contacts(script, fake_time)
