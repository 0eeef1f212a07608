"""Random histories of an upstream, drawn from a seed: what people do there, lost cursors, faults, and collections between.

More of them than the suite runs: `python -m ao_pipeline_tests.sources.random_upstreams --histories 300`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from ao_pipeline.errors import AoError
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import SMALL, SPECS, START, Engine
from ao_pipeline_tests.sources.source_truth import stored, truth

STEPS: Final = 8
WORLD: Final = replace(
    SMALL,
    projects=5,
    tasks=40,
    mail_threads=4,
    chat_messages=30,
    spaces=3,
    calendars=3,
    events=16,
    invoices=20,
    google_tasks=16,
    people=16,
    files=16,
)


@dataclass(frozen=True)
class Subject:
    """A source under test: the asset that is compared, and what may happen to its objects."""

    asset: str
    kind: str
    change: Callable[[random.Random], dict[str, Any]]
    expires: bool = False
    settle_hours: int = 1
    """After this long, a collection must have seen everything: deletions that nothing tells wait for a comparison."""


SUBJECTS: Final = {
    "asana": Subject("raw/asana_tasks", "task", lambda r: {"name": f"renamed {r.random()}"}, settle_hours=25),
    "gmail": Subject(
        "raw/gmail_messages", "mail", lambda r: {"labelIds": ["INBOX", f"Label_{r.random()}"]}, expires=True
    ),
    "calendar": Subject("raw/calendar_events", "event", lambda r: {"summary": f"moved {r.random()}"}, expires=True),
    "chat": Subject("raw/chat_messages", "message", lambda r: {"text": f"edited {r.random()}"}),
    "gtasks": Subject("raw/gtasks_tasks", "gtask", lambda r: {"title": f"reworded {r.random()}"}, settle_hours=25),
    "people": Subject(
        "raw/people_contacts",
        "person",
        lambda r: {"phoneNumbers": [{"value": str(r.random()), "type": "work"}]},
        expires=True,
    ),
    "drive": Subject(
        "raw/drive_files", "file", lambda r: {"name": f"n{r.random()}", "trashed": r.random() < 0.5}, expires=True
    ),
    "xero": Subject("raw/xero_invoices", "invoice", lambda r: {"Reference": f"PO {r.random()}"}),
}


def play(engine: Engine, source: str, seed: int) -> list[str]:
    """Play one history and compare at its end; return what was done.

    Raises:
        AssertionError: The collected rows are not the upstream's; the message holds the seed and what was done.
    """
    subject, draw = SUBJECTS[source], random.Random(f"{source}-{seed}")
    engine.rows.clear()
    engine.cursors.clear()
    done = [_step(engine, source, subject, draw) for _ in range(STEPS)]
    engine.box.clear_faults()
    engine.advance(hours=subject.settle_hours)
    engine.run(subject.asset)
    expected = truth(engine, subject.asset)
    found = stored(engine, subject.asset, expected)
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    assert not wrong, f"{source} seed {seed}: {len(wrong)} rows differ, first {wrong[0]}; done: {json.dumps(done)}"
    return done


def _step(engine: Engine, source: str, subject: Subject, draw: random.Random) -> str:
    action = draw.choice(
        ["create", "update", "update", "delete", "recreate", "collect", "collect", "time", "fault", "expire"]
    )
    if action == "time":
        engine.advance(minutes=draw.choice([1, 15, 90, 60 * 30]))
    elif action == "collect":
        engine.run(subject.asset)
    elif action == "fault":
        engine.box.script_faults(draw.randrange(10**6), count=2, within_seconds=0, sources=[source])
        with suppress(AoError):
            engine.run(subject.asset)
        engine.box.clear_faults()
    elif action == "expire":
        if subject.expires:
            engine.box.expire_cursors(source)
            engine.advance(minutes=1)
    elif action == "create":
        engine.box.mutate(subject.kind, "create")
    else:
        picked = _pick(engine, subject, draw)
        if picked is None:
            return "nothing"
        place, key = picked
        if action == "update":
            engine.box.mutate(subject.kind, "update", key=key, place=place, **subject.change(draw))
        else:
            engine.box.mutate(subject.kind, "delete", key=key, place=place)
            if action == "recreate":
                engine.run(subject.asset)
                engine.box.mutate(subject.kind, "create", place=place)
    return action


def _pick(engine: Engine, subject: Subject, draw: random.Random) -> tuple[str, str] | None:
    """Return place and key of a living object, None when there is none."""
    names = ("gid", "InvoiceID", "resourceName", "id", "name")
    # Edits and deletions of older messages are not told by Chat; the collector states its window.
    oldest = (engine.now - timedelta(days=5)).isoformat() if subject.kind == "message" else ""
    alive = []
    for row in engine.box.truth(SPECS[subject.asset].name):
        found = row["object"]
        if found.get("status") == "cancelled" or "deleteTime" in found or found.get("createTime", "9") < oldest:
            continue
        alive.append((row["in"], next(str(found[name]) for name in names if name in found)))
    return draw.choice(alive) if alive else None


def main(arguments: list[str]) -> int:
    """Play many histories of every source; return 1 at the first that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=50, help="how many of each source")
    parser.add_argument("--first-seed", type=int, default=1000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for source in SUBJECTS:
            for seed in range(given.first_seed, given.first_seed + given.histories):
                with serve(SandboxOptions(data_dir=Path(folder), frozen_at=START, size=WORLD)) as box:
                    play(Engine(box, Settings(sandbox_port=box.port, data_dir=Path(folder))), source, seed)
            print(f"{source}: {given.histories} histories equal the upstream", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
