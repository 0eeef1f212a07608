"""Log lines: one JSON object each, an event name with fields, UTC to the millisecond, never a secret.

Invariants:
1. A value under a secret's name never reaches the output, however deep (`test_no_secret_reaches_the_log`).
2. Credentials inside a URL are cut out wherever the URL stands (`test_credentials_in_a_url_are_cut_out`).
3. A broken value is shown by its type; logging never fails its caller (`test_a_value_without_json_form_does_not_fail`).
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final, Protocol, TextIO
from uuid import UUID

import structlog

from ao_pipeline.clock import to_iso, utc_now

REDACTED: Final = "[redacted]"

MAX_TEXT: Final = 2000
"""Longest text in a field: an upstream's error page must not become a log line of megabytes."""

MAX_DEPTH: Final = 6
"""Deepest nesting that is followed; what lies below is shown by its type."""

_SECRET_NAME: Final = re.compile(
    r"(^|_)(token|secret|password|passwd|authorization|api_?key|private_?key|credentials?|cookie)s?($|_)", re.IGNORECASE
)
_NOT_SECRET: Final = re.compile(r"_(count|seconds|ms|bytes|url|uri)$", re.IGNORECASE)
_URL_CREDENTIALS: Final = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@?#]+@", re.IGNORECASE)
_URL_SECRET_ARGUMENT: Final = re.compile(
    r"([?&](?:[a-z_]*token|[a-z_]*secret|password|key|api_key|code|sig|signature)=)[^&\s#\"']+", re.IGNORECASE
)
_BEARER: Final = re.compile(r"\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}", re.IGNORECASE)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class CycleOutcome(Protocol):
    """What a cycle's record must offer; the state store's record does.

    `report["stages"]` maps a stage to `{status, items, duration_ms}`.
    """

    @property
    def cycle(self) -> str: ...
    @property
    def opened_at_us(self) -> int: ...
    @property
    def closed_at_us(self) -> int | None: ...
    @property
    def status(self) -> str: ...
    @property
    def report(self) -> Mapping[str, Any]: ...


def configure_logs(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send structlog events of this process as JSON lines to `stream`, standard error by default."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_timestamp,
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            redact,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream) if stream else _stderr_factory,
        cache_logger_on_first_use=False,
    )


def cycle_logger(stream: TextIO) -> structlog.typing.FilteringBoundLogger:
    """Return a logger that writes events to `stream` in the same form, whatever this process's configuration is."""
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[structlog.processors.add_log_level, _add_timestamp, redact, _render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    return logger


def redact(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace every secret in an event; a structlog processor."""
    return {key: redact_value(value, name=key) for key, value in event.items()}


def redact_value(value: object, *, name: str = "", depth: int = 0) -> Any:
    """Return `value` without secrets: by the name it stands under, and by what texts look like."""
    if name and is_secret_name(name) and value not in (None, "", True, False):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it.
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= MAX_DEPTH:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {str(key): redact_value(item, name=str(key), depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth=depth + 1) for item in value]
    return redact_text(str(value)) if isinstance(value, Exception) else _plain(value)


def is_secret_name(name: str) -> bool:
    """Tell whether a field of this name holds a secret; `token_count` and `token_url` do not."""
    snake = _CAMEL.sub("_", name).replace("-", "_")
    return bool(_SECRET_NAME.search(snake)) and not _NOT_SECRET.search(snake)


def redact_text(text: str) -> str:
    """Cut credentials out of URLs and authorization headers, and bound the length."""
    without = _URL_CREDENTIALS.sub(rf"\1{REDACTED}@", text)
    without = _URL_SECRET_ARGUMENT.sub(rf"\1{REDACTED}", without)
    without = _BEARER.sub(rf"\1 {REDACTED}", without)
    return without if len(without) <= MAX_TEXT else without[:MAX_TEXT] + "…"


def cycle_complete_fields(record: CycleOutcome) -> dict[str, Any]:
    """Return the one line that ends a cycle: id, duration, the degraded flag, and each stage's figures.

    A stage that did not report is absent; a figure that it did not give is null.
    """
    duration_ms = None if record.closed_at_us is None else (record.closed_at_us - record.opened_at_us) // 1000
    stages = record.report.get("stages")
    given = stages if isinstance(stages, Mapping) else {}
    return {
        "event": "cycle_complete",
        "cycle_id": record.cycle,
        "status": record.status,
        "duration_ms": duration_ms,
        "stages": {
            str(name): {figure: stage.get(figure) for figure in ("status", "items", "duration_ms")}
            for name, stage in given.items()
            if isinstance(stage, Mapping)
        },
        "degraded": record.status != "success",
    }


def _stderr_factory(*_arguments: Any) -> Any:
    return structlog.WriteLogger(sys.stderr)  # Looked up late: tests and servers replace the stream.


def _add_timestamp(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["timestamp"] = to_iso(utc_now())
    return event


def _render(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
    return json.dumps(event, ensure_ascii=False, default=_plain, separators=(",", ":"))


def _plain(value: object) -> str:
    text = getattr(value, "isoformat", None)
    if callable(text):
        return str(text())
    return str(value)[:200] if isinstance(value, PurePath | UUID) else f"<{type(value).__name__}>"
