"""What is kept of a refused record is enough: read again, it gives the row that its collector would have stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ao_pipeline.adapters.sources.registry import COLLECTORS
from ao_pipeline.collect.batch import Batch, Key, Record
from ao_pipeline.collect.replay import READERS, is_newer, replay
from ao_pipeline.collect.result import Drift
from ao_pipeline.collect.values import BadValueError
from ao_pipeline_tests.sources.source_engine import Engine


def test_every_collected_table_has_a_reader() -> None:
    assert READERS.keys() == COLLECTORS.keys()
    for reader in READERS.values():
        assert {reader.scope, reader.version} - {""} <= set(reader.spec.column_names)


@pytest.mark.parametrize("asset", sorted(READERS))
def test_a_kept_record_gives_the_row_that_was_collected(
    still_engine: Engine, asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Record, Mapping[str, str]]] = []
    real = Batch.add

    def add(self: Batch, record: Record, *, scope: Mapping[str, str] | None = None) -> Key | None:
        seen.append((record, scope or {}))
        return real(self, record, scope=scope)

    if asset == "raw/asana_stories":
        still_engine.run("raw/asana_tasks")
    monkeypatch.setattr(Batch, "add", add)
    rows = still_engine.run(asset).rows.to_pylist()
    monkeypatch.undo()
    refused = [refuse(asset, record, scope) for record, scope in seen[:200]]

    replayed = [replay(asset, record_key=label, payload=payload) for label, payload in refused]

    assert refused
    assert {item.reason for item in replayed} == {""}
    assert all(item.rows.to_pylist()[0] in rows for item in replayed)


def refuse(asset: str, record: Record, scope: Mapping[str, Any]) -> tuple[str, str]:
    """Return label and payload that a record has when it is refused."""

    def parse(_record: Record) -> dict[str, Any]:
        raise BadValueError("an earlier version did not read it")

    batch = Batch(READERS[asset].spec, READERS[asset].contract, parse, Drift())
    batch.add(record, scope=scope)
    (found,) = batch.quarantined
    return found.record_key, found.payload


def test_a_version_without_a_time_is_older_than_one_with() -> None:
    assert is_newer("raw/chat_messages", {"edited_at": 1}, {"edited_at": None})
    assert not is_newer("raw/chat_messages", {"edited_at": None}, {"edited_at": None})
    assert not is_newer("raw/chat_messages", {"edited_at": None}, {"edited_at": 1})
    assert not is_newer("raw/chat_messages", None, {"edited_at": 1})
