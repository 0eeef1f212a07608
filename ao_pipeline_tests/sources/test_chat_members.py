"""Members of many spaces: their round grows, so that a collection costs about the same, and leaves none out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ao_pipeline.adapters.sources import chat
from ao_pipeline_tests.sources.source_engine import SMALL, Engine

MEMBERS = "raw/chat_members"


def test_members_of_many_spaces_are_listed_less_often(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "MOST_A_TURN", 0.06)
    engine.run(MEMBERS)
    one_of_each = {row["space_name"]: key for key, row in engine.rows[MEMBERS].items()}
    for key in one_of_each.values():
        engine.box.mutate("member", "update", key=key[0], role="ROLE_MANAGER")
    asked = []

    for _ in range(96):  # Five spaces at 0.06 a turn: twelve hours became a day.
        engine.now += timedelta(minutes=15)
        asked.append(engine.run(MEMBERS).requests)

    assert {engine.rows[MEMBERS][key]["role"] for key in one_of_each.values()} == {"ROLE_MANAGER"}
    assert len(one_of_each) == sum(asked) - len(asked) * min(asked) == SMALL.spaces
