"""A whole cycle over somebody's own Takeout, on a fresh store and on one that held the simulated agency."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ao_pipeline_tests.files.archive import write_archive
from ao_pipeline_tests.pipeline.plant import SECOND, Plant, environment


@pytest.fixture
def takeout(tmp_path: Path) -> Path:
    root = tmp_path / "exports"
    mail = root / "Takeout" / "Mail"
    space = root / "Takeout" / "Google Chat" / "Groups" / "Space AAAA1"
    mail.mkdir(parents=True)
    space.mkdir(parents=True)
    write_archive(mail / "All mail.mbox", count=60, seed=4)
    message = {
        "creator": {"name": "Jo", "email": "jo@agency.example"},
        "created_date": "Friday, November 20, 2026 at 8:00:00 AM UTC",
        "topic_id": "t",
        "message_id": "AAAA1/t/m",
        "text": "hello",
    }
    (space / "messages.json").write_text(json.dumps({"messages": [message]}))
    return root


@pytest.mark.parametrize("kind", ["empty_plant", "plant"])
def test_a_takeout_replaces_the_simulated_agency(kind: str, takeout: Path, request: pytest.FixtureRequest) -> None:
    plant: Plant = request.getfixturevalue(kind)

    with environment(AO_FILES_DIR=str(takeout)) as settings:
        plant.settings = settings
        outcome = plant.cycle(SECOND)
        mailboxes = {row["mailbox"] for row in plant.table("raw/gmail_messages").to_pylist()}
        again = plant.cycle(SECOND.shift(1))

    with plant.store() as store:
        held = set(store.holds())
    # On a store that held the simulation, a table that collapses is held, as in every other case.
    assert outcome.is_good == (not held), outcome
    assert held <= ({"truth/commitments"} if kind == "plant" else set())
    assert mailboxes == {"file:Takeout/Mail"}
    assert plant.table("raw/chat_messages").num_rows == 1
    # Sources without files and without an account stay empty: nothing of the simulation mixes in.
    assert plant.table("raw/asana_tasks").num_rows == 0
    assert plant.table("raw/xero_invoices").num_rows == 0
    moved = {item.asset for item in again.assets if item.asset.startswith("raw/") and (item.inserted or item.updated)}
    assert moved == set()
    assert plant.findings() == []
