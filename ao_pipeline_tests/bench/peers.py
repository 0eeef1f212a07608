"""Peers that keep what they changed: delta-rs, DuckDB, DuckLake and dlt, each as its manual has it."""

from __future__ import annotations

import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline_tests.bench.candidates import KEY
from ao_pipeline_tests.bench.made_table import Batch


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
            # From its wheel: `INSTALL` would download it in the middle of the benchmark.
            with as_file(files("duckdb_extension_ducklake") / "extensions") as extensions:
                self.connection.execute(f"LOAD '{next(extensions.rglob('ducklake.duckdb_extension'))}'")
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


class Dlt:
    """dlt's merge with strategy `scd2` into PostgreSQL: a full listing closes the rows that changed or went, and keeps them."""

    def __init__(self, folder: Path, url: str) -> None:
        # Neither reports home nor asks anybody anything.
        os.environ.update({"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"})
        os.environ["NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID"] = "true"  # Its own requirement for Arrow tables.
        import dlt
        from dlt.sources.helpers.transform import add_row_hash_to_table

        self.hashed = add_row_hash_to_table("row_version")

        self.library, self.folder = dlt, folder
        self.url = sa.make_url(url)
        place: dict[str, Any] = {
            "username": self.url.username,
            "password": self.url.password or "-",
            "database": self.url.database,
        }
        place |= {"host": self.url.host or "localhost", "port": self.url.port or 5432, "query": dict(self.url.query)}
        destination = dlt.destinations.postgres(credentials=place)  # A socket's folder stands in the query.
        self.pipeline = dlt.pipeline("bench", pipelines_dir=str(folder), destination=destination, dataset_name="bench")

    def load(self, table: pa.Table) -> None:
        self._run(table)
        self.loaded = self.stored_bytes_now()

    def full(self, batch: Batch) -> None:
        self._run(batch.listing)

    def partial(self, batch: Batch) -> None:
        raise NotImplementedError("scd2 takes listings; a merge of changed rows keeps no images")

    def undo(self) -> None:
        raise NotImplementedError("dlt does not take loads back")

    def stored_bytes(self) -> int:
        return self.stored_bytes_now() - self.loaded

    def stored_bytes_now(self) -> int:
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT pg_total_relation_size('bench.things')").scalar_one())

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, table: pa.Table) -> None:
        merge = {"disposition": "merge", "strategy": "scd2", "row_version_column_name": "row_version"}
        resource = self.library.resource([self.hashed(table)], name="things", primary_key=KEY, write_disposition=merge)
        self.pipeline.run(resource).raise_on_failed_jobs()


def size_of(path: Path) -> int:
    """Return the bytes of a file or folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0
