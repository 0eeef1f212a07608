"""The pure rules behind reading the past and taking rows back, against direct comparison of listings."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import ChangeSet, change_set
from ao_pipeline.bundles.hashing import StateHash, row_digests
from ao_pipeline.bundles.lineage import downstream_of, inputs_named
from ao_pipeline.bundles.netting import net_undo
from ao_pipeline.bundles.past import changed_rows, net_change, rewind, state_after, swapped
from ao_pipeline.bundles.schema import TableSpec, boolean, floating, integer, text
from ao_pipeline.bundles.where import parse_condition, parse_key, select_changes, without_undone
from ao_pipeline.errors import UnknownNameError

THINGS = TableSpec(
    "proof/things", (text("name"),), (integer("size"), text("note"), floating("share"), boolean("is_on")), "x"
)

Row = dict[str, Any]

ROWS = st.fixed_dictionaries(
    {
        "name": st.sampled_from("abcde"),
        "size": st.none() | st.integers(0, 2),
        "note": st.sampled_from([None, "", "x"]),
        "share": st.sampled_from([None, 0.0, -0.0, float("nan")]),
        "is_on": st.none() | st.booleans(),
    }
)
LISTINGS = st.lists(ROWS, max_size=5, unique_by=lambda row: row["name"])


def between(old: list[Row], new: list[Row]) -> ChangeSet:
    """Return the change from one listing to another."""
    stored, wanted = (payloads.hashed(THINGS, conform(THINGS, rows)) for rows in (old, new))
    kept = {row["name"] for row in new}
    is_gone = np.array([row["name"] not in kept for row in old], dtype=np.bool_)
    return change_set(stored, wanted, stored.keys[is_gone])


def state_of(rows: list[Row]) -> str:
    return StateHash.of(row_digests(THINGS, conform(THINGS, rows))).hex


@given(st.lists(LISTINGS, min_size=2, max_size=5))
def test_a_net_change_is_the_direct_difference(history: list[list[Row]]) -> None:
    steps = [between(old, new) for old, new in pairwise(history)]

    net = net_change(THINGS, steps[::-1])

    direct = between(history[0], history[-1])
    assert [len(part) for part in (net.inserted, net.updated_after, net.deleted)] == [
        len(part) for part in (direct.inserted, direct.updated_after, direct.deleted)
    ]
    assert state_after(state_of(history[0]), net) == state_of(history[-1])
    assert state_after(state_of(history[-1]), swapped(net)) == state_of(history[0])


@given(st.lists(LISTINGS, min_size=2, max_size=5))
def test_rewound_rows_are_those_of_the_first_listing(history: list[list[Row]]) -> None:
    steps = [between(old, new) for old, new in pairwise(history)]

    rows = rewind(THINGS, conform(THINGS, history[-1]), net_undo(THINGS, steps[::-1]))

    assert rows.num_rows == len(history[0])
    assert StateHash.of(row_digests(THINGS, rows)).hex == state_of(history[0])


@given(LISTINGS, LISTINGS)
def test_changed_rows_show_every_cell_that_differs_and_no_other(old: list[Row], new: list[Row]) -> None:
    shown = changed_rows(THINGS, between(old, new), limit=100)

    olds, news = ({row["name"]: row for row in rows} for rows in (old, new))
    for change in shown:
        name = change.key["name"]
        blank = dict.fromkeys(THINGS.column_names)
        before, after = olds.get(name, blank), news.get(name, blank)
        differing = {
            c.name for c in THINGS.columns if str(before[c.name]).lstrip("-") != str(after[c.name]).lstrip("-")
        }
        assert {cell.column for cell in change.cells} == differing
        assert change.sign == ("~" if name in olds and name in news else "+" if name in news else "-")


@given(LISTINGS, LISTINGS)
def test_rows_already_as_before_are_left_out(old: list[Row], new: list[Row]) -> None:
    changes = between(old, new)
    names = {row["name"] for row in old} | {row["name"] for row in new}

    def stored(rows: list[Row]) -> payloads.HashedRows:
        return payloads.hashed(THINGS, conform(THINGS, [row for row in rows if row["name"] in names]))

    assert without_undone(changes, stored(new)).count == changes.count
    assert without_undone(changes, stored(old)).count == 0


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ([], ["a", "b", "c"]),
        (["name=a"], ["a"]),
        (["size=1"], ["a", "c"]),  # The old image of a, the only one of c.
        (["size=2"], ["a"]),
        (["note="], ["a", "b"]),  # NULL and the empty text.
        (["share=nan"], ["c"]),
        (["is_on=TRUE", "size=1"], ["c"]),
        (["name=a", "name=b"], []),
    ],
)
def test_conditions_look_at_either_image(conditions: list[str], names: list[str]) -> None:
    a_old = {"name": "a", "size": 1, "note": "", "share": 0.5, "is_on": None}
    old = [a_old, {"name": "c", "size": 1, "note": "x", "share": float("nan"), "is_on": True}]
    new = [a_old | {"size": 2, "note": "y"}, {"name": "b", "size": 3, "note": None, "share": 0.5, "is_on": False}]

    chosen = select_changes(between(old, new), [parse_condition(THINGS, text) for text in conditions])

    assert sorted(row.key["name"] for row in changed_rows(THINGS, chosen, limit=9)) == names


def test_a_key_is_typed_in_the_order_of_its_columns() -> None:
    spec = TableSpec("proof/pairs", (text("name"), integer("line")), (), "x")

    assert parse_key(spec, ["7", "7"]) == {"name": "7", "line": 7}
    with pytest.raises(UnknownNameError, match=r"has 2 parts \(name, line\); got 3"):
        parse_key(spec, ["a", "1", "2"])


def test_downstream_follows_every_path_once() -> None:
    sources = {"b": {"a"}, "c": {"b"}, "d": {"c", "a"}, "e": {"x"}, "a": {"d"}}

    assert downstream_of(sources, "a") == ("b", "c", "d")
    assert downstream_of(sources, "e") == ()


def test_inputs_are_found_by_table_or_asset_name() -> None:
    names = {"raw/bills": "raw/bills", "raw_bills": "raw/bills", "ref_plans": "ref/plans"}

    assert inputs_named('{"code":"1","tables":{"raw_bills":"ff","other":null}}', names) == {"raw/bills"}
    assert inputs_named("", names) == frozenset()
