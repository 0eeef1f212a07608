"""Log lines: JSON, complete, and without secrets."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.observability.logs import (
    MAX_TEXT,
    configure_logs,
    cycle_complete_fields,
    is_secret_name,
    redact_text,
    redact_value,
)

SECRET = "s3cr3t-value"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    out = io.StringIO()
    configure_logs(out)
    yield out
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields(stream: io.StringIO) -> None:
    structlog.get_logger().info("cycle.finished", cycle_id="2026-11-22-10:00", rows=3, path=Path("var/x"))

    [line] = lines(stream)
    assert (line["event"], line["level"], line["rows"], line["path"]) == ("cycle.finished", "info", 3, "var/x")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])


@pytest.mark.parametrize(
    "fields",
    [
        {"token": SECRET},
        {"asana_token": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"client_secret": {"nested": SECRET}},
        {"request": {"headers": {"X-Api-Key": SECRET}}},
        {"request": [{"accessToken": SECRET}]},
        {"password": SECRET},
        {"private_key": SECRET},
        {"url": f"postgresql+psycopg2://ao:{SECRET}@db.agency.example/ao"},
        {"url": f"https://chat.agency.example/v1/spaces/x?key=abc&token={SECRET}"},
        {"reason": f"401 from https://user:{SECRET}@api.agency.example/x: refused"},
        {"reason": f"sent Authorization: Bearer {SECRET}"},
        {"error": ValueError(f"https://user:{SECRET}@api.agency.example/")},
    ],
)
def test_no_secret_reaches_the_log(stream: io.StringIO, fields: dict[str, Any]) -> None:
    structlog.get_logger().warning("request.failed", **fields)

    assert SECRET not in stream.getvalue()
    assert "[redacted]" in stream.getvalue()


def test_no_secret_of_a_traceback_reaches_the_log(stream: io.StringIO) -> None:
    token = SECRET
    try:
        int(f"https://user:{token}@api.agency.example/")
    except ValueError:
        structlog.get_logger().exception("request.failed")

    [line] = lines(stream)
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert f":{SECRET}@" not in stream.getvalue()


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("token", True), ("nextPageToken", True), ("refresh_token", True), ("AO_XERO_CLIENT_SECRET", True),
        ("token_count", False), ("token_url", False), ("tokens_per_second", True), ("author", False),
        ("secretary", False), ("keyboard", False), ("cookie", True), ("monkey", False),
    ],
)  # fmt: skip
def test_a_name_tells_whether_it_holds_a_secret(name: str, is_secret: bool) -> None:
    assert is_secret_name(name) is is_secret


def test_credentials_in_a_url_are_cut_out() -> None:
    assert (
        redact_text("x https://a:b@h.example/p?token=q&n=1 y")
        == "x https://[redacted]@h.example/p?token=[redacted]&n=1 y"
    )


def test_a_cut_never_uncovers_a_secret() -> None:
    long = "x" * (MAX_TEXT - 12) + f" https://u:{SECRET}@h.example/"

    assert SECRET[:4] not in redact_text(long)


@given(
    st.recursive(
        st.none() | st.floats() | st.text() | st.binary(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_a_value_without_json_form_does_not_fail(value: Any) -> None:
    json.dumps(redact_value(value), allow_nan=False)


@dataclass
class Record:
    cycle: str = "2026-11-22-10:00"
    opened_at_us: int = 1_000_000
    closed_at_us: int | None = 3_500_000
    status: str = "success"
    report: dict[str, Any] = field(default_factory=dict)


def test_a_cycle_ends_in_one_line_with_every_stage() -> None:
    stage = {"status": "success", "items": 12, "duration_ms": 300, "secret_detail": "not shown"}

    fields = cycle_complete_fields(Record(report={"stages": {"collect": stage, "truth": {"status": "failed"}}}))

    assert fields == {
        "event": "cycle_complete",
        "cycle_id": "2026-11-22-10:00",
        "status": "success",
        "duration_ms": 2500,
        "stages": {
            "collect": {"status": "success", "items": 12, "duration_ms": 300},
            "truth": {"status": "failed", "items": None, "duration_ms": None},
        },
        "degraded": False,
    }


@pytest.mark.parametrize("report", [{}, {"stages": None}, {"stages": {"collect": "broken"}}])
def test_a_report_of_another_shape_still_gives_the_line(report: dict[str, Any]) -> None:
    fields = cycle_complete_fields(Record(status="failed", closed_at_us=None, report=report))

    assert (fields["duration_ms"], fields["stages"], fields["degraded"]) == (None, {}, True)
