"""What is measured side by side: our engine, peers, a naive upsert, and the floor that records nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import managed_tables
from ao_pipeline.bundles.changes import Change
from ao_pipeline_tests.bench.made_table import SPEC, Batch
from ao_pipeline_tests.stress.histories import FIRST, intent, open_empty

KEY = "thing_id"


class Candidate(Protocol):
    """Holds the table and takes one batch after another."""

    def load(self, table: pa.Table) -> None:
        """Store the first state; not measured."""
        ...

    def full(self, batch: Batch) -> None:
        """Take a whole listing: find the changes, record them, apply them."""
        ...

    def partial(self, batch: Batch) -> None:
        """Take only what changed."""
        ...

    def undo(self) -> None:
        """Take the newest batch back."""
        ...

    def stored_bytes(self) -> int:
        """Bytes kept for history so far."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Ours:
    """The engine. Every call begins and commits, as a run does."""

    def __init__(self, url: str) -> None:
        self.store = open_empty(url, SPEC)
        self.number = 0

    def load(self, table: pa.Table) -> None:
        self._commit(Change(table, is_full=True))

    def full(self, batch: Batch) -> None:
        self._commit(Change(batch.listing, is_full=True))

    def partial(self, batch: Batch) -> None:
        self._commit(Change(batch.changed, is_full=False, deleted=batch.deleted))

    def undo(self) -> None:
        self.store.revert(intent(SPEC, FIRST.shift(self.number - 1), f"undo:{self.number}"))

    def stored_bytes(self) -> int:
        return sum(
            bundle.payload_bytes for bundle in self.store.bundles(asset=SPEC.asset, limit=1000) if bundle.seq > 1
        )

    def close(self) -> None:
        self.store.close()

    def _commit(self, change: Change) -> None:
        self.number += 1
        self.store.commit(self.store.begin(intent(SPEC, FIRST.shift(self.number), "bench")), change)


class Floor:
    """Applies known changes in one transaction through the same driver calls, and records nothing at all."""

    def __init__(self, url: str) -> None:
        self.store = open_empty(url, SPEC)

    def load(self, table: pa.Table) -> None:
        self._apply(table, None)

    def full(self, batch: Batch) -> None:
        self._apply(batch.changed, batch.deleted)

    def partial(self, batch: Batch) -> None:
        self._apply(batch.changed, batch.deleted)

    def undo(self) -> None:
        raise NotImplementedError("the floor has no history")

    def stored_bytes(self) -> int:
        return 0

    def close(self) -> None:
        self.store.close()

    def _apply(self, rows: pa.Table, deleted: pa.Table | None) -> None:
        with self.store.database.write() as connection:
            if deleted is not None:
                self.store.tables.delete(connection, SPEC, deleted)
            self.store.tables.upsert(connection, SPEC, rows)


class Naive:
    """What is written without thinking: read all with SQLAlchemy, compare dictionaries, upsert row by row, log JSON."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)
        metadata = sa.MetaData()
        self.table = managed_tables([SPEC], metadata)[SPEC.name]
        self.log = sa.Table(
            "audit", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("body", sa.Text)
        )
        metadata.create_all(self.engine)

    def load(self, table: pa.Table) -> None:
        with self.engine.begin() as connection:
            connection.execute(self.table.insert(), self._rows(table))

    def full(self, batch: Batch) -> None:
        wanted = {row[KEY]: row for row in self._rows(batch.listing)}
        with self.engine.begin() as connection:
            stored = {row[KEY]: dict(row) for row in connection.execute(sa.select(self.table)).mappings()}
            changed = [row for key, row in wanted.items() if stored.get(key) != row]
            gone = [key for key in stored if key not in wanted]
            self._write(connection, stored, changed, gone)

    def partial(self, batch: Batch) -> None:
        changed, gone = self._rows(batch.changed), batch.deleted.column(KEY).to_pylist()
        with self.engine.begin() as connection:
            stored = {}
            for key in [*(row[KEY] for row in changed), *gone]:
                found = connection.execute(sa.select(self.table).where(self.table.c[KEY] == key)).mappings().first()
                if found is not None:
                    stored[key] = dict(found)
            self._write(connection, stored, changed, gone)

    def undo(self) -> None:
        raise NotImplementedError("nothing to measure: it would be the same upsert again")

    def stored_bytes(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.sum(sa.func.length(self.log.c.body)))).scalar() or 0)

    def close(self) -> None:
        self.engine.dispose()

    def _rows(self, table: pa.Table) -> list[dict[str, Any]]:
        names = [c.name for c in SPEC.all_columns if c.type.value == "instant"]
        for name in names:
            at = table.column_names.index(name)
            table = table.set_column(at, name, table.column(name).cast(pa.int64()))
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def _write(
        self, connection: sa.Connection, stored: dict[str, Any], changed: list[dict[str, Any]], gone: list[str]
    ) -> None:
        for key in [*(row[KEY] for row in changed), *gone]:
            connection.execute(self.table.delete().where(self.table.c[KEY] == key))
        if changed:
            connection.execute(self.table.insert(), changed)
        images = {"before": [stored.get(row[KEY]) for row in changed] + [stored[key] for key in gone], "after": changed}
        connection.execute(self.log.insert().values(body=json.dumps(images)))


class DeltaLake:
    """delta-rs: MERGE with the change data feed on."""

    def __init__(self, folder: Path) -> None:
        import deltalake

        self.library, self.folder = deltalake, folder

    def load(self, table: pa.Table) -> None:
        self.library.write_deltalake(str(self.folder), table, configuration={"delta.enableChangeDataFeed": "true"})
        self.delta = self.library.DeltaTable(str(self.folder))
        self.loaded = size_of(self.folder)

    def full(self, batch: Batch) -> None:
        # No predicate for rows that really differ: with one, deltalake 1.6 takes ten times as long.
        merge = self._merge(batch.listing).when_matched_update_all().when_not_matched_insert_all()
        merge.when_not_matched_by_source_delete().execute()

    def partial(self, batch: Batch) -> None:
        self._merge(batch.changed).when_matched_update_all().when_not_matched_insert_all().execute()
        self._merge(batch.deleted).when_matched_delete().execute()

    def undo(self) -> None:
        self.delta.restore(self.delta.version() - 1)

    def stored_bytes(self) -> int:
        return size_of(self.folder) - self.loaded

    def close(self) -> None:
        shutil.rmtree(self.folder)

    def _merge(self, rows: pa.Table) -> Any:
        return self.delta.merge(rows, predicate=f"t.{KEY} = s.{KEY}", source_alias="s", target_alias="t")


class DuckDb:
    """DuckDB, also as DuckLake's engine: a set-based diff into an audit table, then apply, in one transaction."""

    def __init__(self, path: Path, *, lake: bool = False) -> None:
        import duckdb

        self.path = path
        if lake:
            self.connection = duckdb.connect()
            self.connection.execute("INSTALL ducklake; LOAD ducklake")
            self.connection.execute(f"ATTACH 'ducklake:{path}.catalog' AS lake (DATA_PATH '{path}'); USE lake")
        else:
            self.connection = duckdb.connect(str(path))
        self.is_lake, self.round = lake, 0

    def load(self, table: pa.Table) -> None:
        self.connection.register("given", table)
        self.connection.execute("CREATE TABLE things AS SELECT * FROM given")
        if not self.is_lake:  # DuckLake keeps its own change feed.
            self.connection.execute("ALTER TABLE things ADD PRIMARY KEY (thing_id)")
            self.connection.execute("CREATE TABLE audit AS SELECT 0 AS round, '' AS image, * FROM things LIMIT 0")
        self.connection.execute("CHECKPOINT")
        self.loaded = size_of(self.path)

    def full(self, batch: Batch) -> None:
        self.connection.register("given", batch.listing)
        rows = (
            "SELECT g.* FROM given g LEFT JOIN things t USING (thing_id) WHERE t.thing_id IS NULL OR hash(g) <> hash(t)"
        )
        gone = "SELECT t.thing_id FROM things t ANTI JOIN given USING (thing_id)"
        self._apply(rows, gone)

    def partial(self, batch: Batch) -> None:
        self.connection.register("given", batch.changed)
        self.connection.register("away", batch.deleted)
        self._apply("SELECT * FROM given", "SELECT thing_id FROM away")

    def undo(self) -> None:
        raise NotImplementedError("DuckDB has no history; DuckLake restores by reading an older snapshot")

    def stored_bytes(self) -> int:
        self.connection.execute("CHECKPOINT")
        return size_of(self.path) - self.loaded

    def close(self) -> None:
        self.connection.close()

    def _apply(self, rows: str, gone: str) -> None:
        self.round += 1
        run = self.connection.execute
        run("BEGIN")
        run(f"CREATE OR REPLACE TEMP TABLE changed AS {rows}")
        run(f"CREATE OR REPLACE TEMP TABLE gone AS {gone} UNION ALL SELECT thing_id FROM changed")
        if not self.is_lake:
            run(f"INSERT INTO audit SELECT {self.round}, 'before', t.* FROM things t SEMI JOIN gone USING (thing_id)")
            run(f"INSERT INTO audit SELECT {self.round}, 'after', * FROM changed")
            merge = "UPDATE SET *"
            run("DELETE FROM things WHERE thing_id IN (SELECT thing_id FROM gone ANTI JOIN changed USING (thing_id))")
            run(
                f"MERGE INTO things USING changed USING (thing_id) WHEN MATCHED THEN {merge} WHEN NOT MATCHED THEN INSERT"
            )
        else:
            run("DELETE FROM things WHERE thing_id IN (SELECT thing_id FROM gone)")
            run("INSERT INTO things SELECT * FROM changed")
        run("COMMIT")


def size_of(path: Path) -> int:
    """Return the bytes of a file or folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


Factory = Callable[[Path], Candidate]
