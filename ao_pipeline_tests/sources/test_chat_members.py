"""Members of a space are listed when their number moved, and in turn; the round of many spaces grows and leaves none out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ao_pipeline.adapters.sources import chat
from ao_pipeline_tests.sources.source_engine import SMALL, Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

MEMBERS = "raw/chat_members"


def test_members_are_listed_where_their_number_changed(engine: Engine) -> None:
    engine.run(MEMBERS)
    engine.advance(seconds=1)
    space = next(iter(engine.rows[MEMBERS].values()))["space_name"]
    made = engine.box.mutate("member", "create", space=space)

    result = engine.run(MEMBERS)

    assert result.requests == 3
    assert (made["key"],) in engine.rows[MEMBERS]
    assert_equals_truth(engine, MEMBERS)


def test_a_new_role_is_seen_within_a_sweep(engine: Engine) -> None:
    engine.run(MEMBERS)
    key = next(iter(engine.rows[MEMBERS]))
    engine.box.mutate("member", "update", key=key[0], role="ROLE_MANAGER")
    engine.advance(hours=engine.settings.sweep_hours)

    engine.run(MEMBERS)

    assert engine.rows[MEMBERS][key]["role"] == "ROLE_MANAGER"


def test_members_of_a_space_that_is_gone_go_with_it(still_engine: Engine) -> None:
    still_engine.run(MEMBERS)
    row = next(iter(still_engine.rows[MEMBERS].values()))
    name = "spaces/gone/members/1"
    still_engine.rows[MEMBERS][(name,)] = {**row, "membership_name": name, "space_name": "spaces/gone"}
    still_engine.cursors[MEMBERS]["counts"]["spaces/gone"] = {"joinedDirectHumanUserCount": 1}

    result = still_engine.run(MEMBERS)

    assert result.deleted.to_pylist() == [{"membership_name": name}]


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
