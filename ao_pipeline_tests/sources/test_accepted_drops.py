"""A listing that really shrank: refused by a message that names the way, and let pass once when a person says so."""

from __future__ import annotations

import pytest

from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.adapters.state.acceptance import accept_drop, is_drop_accepted
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_ASANA_USERS, RAW_GMAIL_MESSAGES
from ao_pipeline.collect.volume import VolumeDropError, check_volume
from ao_pipeline.errors import HoldError, UnknownNameError
from ao_pipeline_tests.sources.source_engine import START, Engine
from ao_pipeline_tests.stress.histories import FIRST, commit, open_empty
from ao_pipeline_tests.stress.tables import row


def test_the_refusal_names_the_command() -> None:
    with pytest.raises(VolumeDropError, match="`ao accept-volume raw_gmail_messages --reason"):
        check_volume(100, 1, what="raw_gmail_messages of ops@agency.example")


def read(engine: Engine, spec: TableSpec, *, accepts_drop: bool) -> Collected:
    return collect(
        spec.asset,
        settings=engine.settings,
        cursor=None,
        stored_keys=lambda: engine.stored_keys(spec.asset),
        now=START,
        accepts_drop=accepts_drop,
    )


def test_an_accepted_drop_deletes_what_is_gone(still_engine: Engine) -> None:
    spec = RAW_ASANA_USERS
    rows = still_engine.run(spec.asset).rows.num_rows
    example = next(iter(still_engine.rows[spec.asset].values()))
    still_engine.rows[spec.asset] |= {(f"left-{n}",): {**example, "user_gid": f"left-{n}"} for n in range(rows * 2)}

    with pytest.raises(VolumeDropError):
        read(still_engine, spec, accepts_drop=False)
    accepted = read(still_engine, spec, accepts_drop=True)

    assert accepted.is_full
    assert accepted.rows.num_rows == rows


def test_an_accepted_drop_passes_once(database_url: str) -> None:
    store = open_empty(database_url, RAW_ASANA_USERS)
    asset = RAW_ASANA_USERS.asset
    commit(store, RAW_ASANA_USERS, FIRST, [row(RAW_ASANA_USERS, str(n)) for n in range(30)], cursor={"page": 1})
    before = store.read(asset)

    bundle_id = accept_drop(store, asset, actor="operator:ann", reason="the agency shrank")
    accepted = is_drop_accepted(store, asset)
    untouched = store.read(asset)
    commit(store, RAW_ASANA_USERS, FIRST.shift(1), [row(RAW_ASANA_USERS, "1")], name="next")

    header = store.bundle(bundle_id)
    assert (header.actor, header.reason, header.rows_changed) == ("operator:ann", "the agency shrank", 0)
    assert accepted
    assert untouched.sort_by("user_gid").equals(before.sort_by("user_gid"))
    assert not is_drop_accepted(store, asset)
    assert store.verify(asset) == []
    store.close()


def test_nothing_is_accepted_unasked_or_for_what_never_was(database_url: str) -> None:
    store = open_empty(database_url, RAW_ASANA_USERS, RAW_GMAIL_MESSAGES)
    commit(store, RAW_ASANA_USERS, FIRST, [row(RAW_ASANA_USERS, "1")])

    assert not is_drop_accepted(store, RAW_ASANA_USERS.asset)
    assert not is_drop_accepted(store, RAW_GMAIL_MESSAGES.asset)
    with pytest.raises(UnknownNameError, match="never computed"):
        accept_drop(store, RAW_GMAIL_MESSAGES.asset, actor="a", reason="r")
    store.hold(RAW_ASANA_USERS.asset, reason="frozen", actor="a")
    with pytest.raises(HoldError):
        accept_drop(store, RAW_ASANA_USERS.asset, actor="a", reason="r")
    assert not is_drop_accepted(store, RAW_ASANA_USERS.asset)
    store.close()
