"""Faults on request: what the next requests to a source suffer, by count and by duration."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import yaml

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.clock import monotonic_seconds
from ao_pipeline.errors import ConfigError
from ao_pipeline.sandbox.fault_bodies import GOOGLE
from ao_pipeline.sandbox.world.draw import Draw

KINDS: Final = frozenset(
    {
        "status",
        "latency",
        "hang",
        "truncated",
        "html",
        "malformed_record",
        "unknown_field",
        "empty",
        "disconnect",
        "foreign",
        "renamed_list",
        "duplicate_rows",
        "reordered_rows",
        "skewed_clock",
        "rate_limit",
        "revoke_subject",
    }
)
SOURCES: Final = GOOGLE | {"asana", "xero", "xero_token", "google_token", "webhook", "*"}
_MOUNTS: Final = {path.split("/")[1]: source for source, path in SANDBOX_PATHS.items() if source != "xero_token"}
VENDOR_LIMITS: Final = {"asana": 1_500, "calendar": 600, "chat": 3_000, "xero": 60}
"""Requests per minute. Gmail counts units instead; the others state theirs in the project's console only."""
_OTHER_LIMIT: Final = 600
_SCRIPTED: Final = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    {"kind": "status", "status": 503},
    {"kind": "latency", "seconds": 0.02},
    {"kind": "disconnect"},
    {"kind": "truncated"},
    {"kind": "html"},
    {"kind": "foreign"},
    {"kind": "renamed_list"},
    {"kind": "malformed_record"},
    {"kind": "unknown_field"},
    {"kind": "empty"},
    {"kind": "duplicate_rows"},
    {"kind": "reordered_rows"},
    {"kind": "skewed_clock", "seconds": 900.0},
)
"""What a script draws from."""


@dataclass
class Fault:
    """One fault and what is left of it."""

    source: str
    kind: str
    status: int = 503
    seconds: float = 0.0
    """Latency, how long a hang lasts, or how far a skewed clock is ahead."""
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    """Replaces the vendor's own error body."""
    path_contains: str = ""
    skip: int = 0
    """Matching requests that pass first: the fault hits in the middle of a listing."""
    count: int | None = None
    """Requests to hit; None has no limit."""
    until: float | None = None
    """Monotonic second at which it ends."""
    since: float = 0.0
    """Monotonic second at which it begins."""
    rate: float = 1.0
    """Share of the matching requests that are hit, drawn from the seed."""
    seed: int = 0
    per_minute: int = 0
    """Requests that a rate limit lets pass in any minute; 0 takes the vendor's."""
    subject: str = ""
    matched: int = 0
    passed: deque[float] = field(default_factory=deque)

    def takes(self, source: str, path: str, now: float) -> bool:
        """Return whether this request is hit, and count it."""
        if now < self.since or (self.until is not None and now >= self.until) or self.count == 0:
            return False
        if self.source not in (source, "*") or self.path_contains not in path:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.matched += 1
        if self.rate < 1 and not Draw(self.seed, "fault", self.matched).chance(self.rate):
            return False
        if self.kind == "rate_limit" and self._is_within_limit(source, now):
            return False
        if self.count is not None:
            self.count -= 1
        return True

    def _is_within_limit(self, source: str, now: float) -> bool:
        while self.passed and self.passed[0] <= now - 60:
            self.passed.popleft()
        if len(self.passed) >= (self.per_minute or VENDOR_LIMITS.get(source, _OTHER_LIMIT)):
            return False
        self.passed.append(now)
        return True


_FIELDS: Final = {field.name for field in fields(Fault)} - {"until", "since", "matched", "passed"} | {
    "duration_seconds",
    "after_seconds",
}
"""What the admin API takes."""


class FaultBook:
    """The faults in force."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.hits = 0
        self.revoked_subjects: set[str] = set()

    def add(self, wanted: dict[str, Any]) -> Fault:
        """Add a fault described by the admin API.

        Raises:
            ValueError: The source, the kind or a field is unknown; nothing was added.
        """
        given = dict(wanted)
        unknown = sorted(given.keys() - _FIELDS)
        if unknown:
            raise ValueError(f"fault has the unknown field {unknown[0]!r}; known are {', '.join(sorted(_FIELDS))}")
        duration = given.pop("duration_seconds", None)
        given["since"] = monotonic_seconds() + float(given.pop("after_seconds", 0.0))
        if duration is not None:
            given["until"] = given["since"] + float(duration)
        try:
            fault = Fault(**given)
        except TypeError as error:
            raise ValueError(f"fault needs a source and a kind: {error}") from error
        if fault.source not in SOURCES or fault.kind not in KINDS:
            raise ValueError(f"fault needs a source of {sorted(SOURCES)} and a kind of {sorted(KINDS)}")
        if fault.kind == "revoke_subject":
            self.revoked_subjects.add(fault.subject)
        else:
            self.faults.append(fault)
        return fault

    def script(self, seed: int, *, count: int, within_seconds: float, sources: Sequence[str]) -> list[dict[str, Any]]:
        """Add `count` faults drawn from a seed, each on a few requests of one source, and return them.

        Raises:
            ValueError: A source is unknown; nothing was added.
        """
        if not sources or not set(sources) <= SOURCES:
            raise ValueError(f"a fault script needs sources of {sorted(SOURCES)}")
        made: list[dict[str, Any]] = []
        for number in range(count):
            draw = Draw(seed, "script", number)
            made.append(
                {
                    **draw.pick(_SCRIPTED),
                    "source": draw.pick(sources),
                    "skip": draw.below(6),
                    "count": draw.between(1, 3),
                    "after_seconds": draw.fraction() * within_seconds,
                }
            )
        for fault in made:
            self.add(fault)
        return made

    def load(self, path: Path) -> None:
        """Add every fault of a file: a list, in JSON or YAML, of what the admin API takes one by one.

        Raises:
            ConfigError: The file cannot be read, or one of its faults is wrong; the message says which and why.
        """
        try:
            wanted = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"AO_SANDBOX_FAULTS_FILE names {path}, which cannot be read: {error}") from error
        if not isinstance(wanted, list) or not all(isinstance(fault, dict) for fault in wanted):
            raise ConfigError(f"{path} must hold a list of faults, each with at least a source and a kind")
        for number, fault in enumerate(wanted, start=1):
            try:
                self.add(fault)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{path}, fault {number}: {error}") from error

    def clear(self) -> None:
        """End every fault."""
        self.faults.clear()
        self.revoked_subjects.clear()

    def take(self, source: str, path: str) -> Fault | None:
        """Return the first fault that hits this request."""
        if not self.faults:
            return None
        now = monotonic_seconds()
        for fault in self.faults:
            if fault.takes(source, path, now):
                self.hits += 1
                return fault
        return None


def source_of(path: str) -> str:
    """Return the source that a path belongs to, empty for the sandbox's own paths."""
    if path == "/webhook/messages":
        return ""
    if path.startswith("/xero/identity"):
        return "xero_token"
    if path.startswith("/google/"):
        return "google_token"
    return _MOUNTS.get(path.split("/", 2)[1] if "/" in path else "", "")
