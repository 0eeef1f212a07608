"""Ask every source one cheap question and say what is wrong with it: reachable, authorised, scopes, clocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ao_pipeline import clock
from ao_pipeline.adapters.sources.exchange import Answer
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.tokens import GOOGLE_SCOPES
from ao_pipeline.errors import (
    AoError,
    AuthError,
    BudgetExhaustedError,
    ConfigError,
    PermanentError,
    UnknownNameError,
)
from ao_pipeline.settings import PREFIX, Settings, url_variable

MAX_SKEW: Final = timedelta(seconds=60)
"""Clocks that differ by more make watermarks late; Google refuses tokens at five minutes."""

BUDGET_SECONDS: Final = 20.0
ATTEMPTS: Final = 2

_CREDENTIALS: Final = {
    "asana": f"{PREFIX}ASANA_TOKEN",
    "xero": f"{PREFIX}XERO_CLIENT_ID, {PREFIX}XERO_CLIENT_SECRET and the application's scopes",
}


@dataclass(frozen=True)
class Diagnosis:
    """One question to one source. `problem` and `fix` are empty when all is well."""

    source: str
    asked: str
    is_good: bool
    duration_ms: int
    skew_seconds: float | None
    problem: str = ""
    fix: str = ""


@dataclass(frozen=True)
class _Question:
    operation: str
    path: str
    params: dict[str, str | int]
    subject: str = ""
    judge: Callable[[Any], str] = lambda body: "" if isinstance(body, dict) else "the answer is no JSON object"


def sources() -> tuple[str, ...]:
    """Return the names of the sources, in order."""
    return ("asana", "gmail", "calendar", "chat", "gtasks", "people", "drive", "xero")


def diagnose(settings: Settings, names: Sequence[str] = ()) -> list[Diagnosis]:
    """Ask the named sources, or all that are collected from: with a folder of files nothing is simulated.

    Raises:
        UnknownNameError: No source has this name.
    """
    unknown = sorted(set(names) - set(sources()))
    if unknown:
        raise UnknownNameError(f"{unknown[0]!r} is not a source; they are {', '.join(sources())}")
    brief = settings.model_copy(update={"call_attempts": ATTEMPTS, "source_budget_seconds": BUDGET_SECONDS})
    from_files = settings.files_path is not None
    asked = names or [name for name in sources() if not (from_files and settings.is_simulated(name))]
    wanted = [name for name in sources() if name in asked]
    with ThreadPoolExecutor(max(1, len(wanted))) as pool:
        return [item for found in pool.map(lambda name: _examine(brief, name), wanted) for item in found]


def _examine(settings: Settings, source: str) -> list[Diagnosis]:
    request = CollectionRequest(settings, None, _no_keys, clock.utc_now())
    try:
        with request.open(source) as client:
            now = _now_of(client, settings, source)
            return [_ask(client, source, question, now) for question in _questions(settings, source)]
    except ConfigError as error:
        return [Diagnosis(source, "settings", False, 0, None, str(error), "correct the setting that is named")]


def _no_keys() -> Any:
    raise PermanentError("a diagnosis reads no stored keys")


def _now_of(client: SourceClient, settings: Settings, source: str) -> Callable[[], datetime]:
    """Return the clock that the source's is held against: this machine's, or the one that the sandbox was given.

    A simulated agency may live on another day, or stand still; that is no fault of its clock.
    """
    if not settings.is_simulated(source):
        return clock.utc_now
    try:
        told = json.loads(client.send("GET", f"{settings.sandbox_url}/admin/state", headers={}).body)
        simulated, is_frozen = datetime.fromisoformat(told["now"]), bool(told["is_frozen"])
    except (AoError, ValueError, KeyError, TypeError):
        return clock.utc_now  # Not there, or another server: its answers to the questions say what is wrong.
    ahead = simulated - clock.utc_now()
    return lambda: simulated if is_frozen else clock.utc_now() + ahead


def _ask(client: SourceClient, source: str, question: _Question, now: Callable[[], datetime]) -> Diagnosis:
    began = clock.monotonic_seconds()
    asked = f"{question.operation} of {question.subject}" if question.subject else question.operation
    answer: Answer | None = None
    try:
        answer = client.get(question.operation, question.path, question.params, subject=question.subject)
        problem, fix = question.judge(answer.body), f"check {url_variable(source)} and the ids in the settings"
    except AoError as error:
        problem, fix = str(error), _fix(source, error)
    duration_ms = int((clock.monotonic_seconds() - began) * 1000)
    skew = round((answer.server_time - now()).total_seconds(), 1) if answer and answer.server_time else None
    if not problem and skew is not None and abs(skew) > MAX_SKEW.total_seconds():
        problem = f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        fix = "synchronise this machine's clock (NTP)"
    return Diagnosis(source, asked, not problem, duration_ms, skew, problem, fix if problem else "")


def _fix(source: str, error: AoError) -> str:
    if isinstance(error, ConfigError):
        return "correct the setting that is named"
    if isinstance(error, AuthError):
        if source in GOOGLE_SCOPES:
            return (
                f"authorise the service account's client id for {' '.join(GOOGLE_SCOPES[source])},"
                f" enable the API in its project, and check {PREFIX}GOOGLE_CREDENTIALS_FILE and the user"
            )
        return f"renew {_CREDENTIALS[source]}"
    if isinstance(error, BudgetExhaustedError) or error.details.get("status") == 429:
        return "it is reachable, and its rate limit is used up: wait, or collect less often (docs/sources.md)"
    if isinstance(error, PermanentError):
        return f"another API answers, or an id is wrong: check {url_variable(source)} and the ids in the settings"
    return f"is it reachable from here? check {url_variable(source)}, the network, and the vendor's status page"


def _questions(settings: Settings, source: str) -> list[_Question]:
    """Return the cheapest call of each permission that the collectors need."""
    if source == "asana":
        workspace = settings.asana_workspace_gid

        def sees_workspace(body: Any) -> str:
            rows = body.get("data") if isinstance(body, dict) else None
            gids = {row.get("gid") for row in rows if isinstance(row, dict)} if isinstance(rows, list) else set()
            return "" if workspace in gids else f"the token does not see workspace {workspace}"

        return [
            _Question("asana.workspaces.list", "/workspaces", {"limit": 100}, judge=sees_workspace),
            _Question("asana.projects.list", "/projects", {"workspace": workspace, "limit": 1}),
        ]
    if source == "gmail":
        boxes = sorted({box.strip().lower() for box in settings.gmail_mailboxes.split(",") if box.strip()})
        return [_Question("gmail.users.getProfile", f"/users/{box}/profile", {}, box) for box in boxes]
    if source == "xero":
        page: dict[str, str | int] = {"page": 1, "pageSize": 1}
        names = ("contacts", "invoices", "payments", "creditNotes")
        return [_Question(f"xero.{name}.list", f"/{name[0].upper()}{name[1:]}", page) for name in names]
    return {
        "calendar": [_Question("calendar.calendarList.list", "/users/me/calendarList", {"maxResults": 1})],
        "chat": [_Question("chat.spaces.list", "/spaces", {"pageSize": 1})],
        "gtasks": [_Question("tasks.tasklists.list", "/users/@me/lists", {"maxResults": 1})],
        "people": [
            _Question("people.connections.list", "/people/me/connections", {"pageSize": 1, "personFields": "names"})
        ],
        "drive": [_Question("drive.changes.getStartPageToken", "/changes/startPageToken", {})],
    }[source]
