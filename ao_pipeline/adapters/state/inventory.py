"""Every managed table of the project, in the order in which the data flows."""

from __future__ import annotations

from typing import Final

from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REFERENCE_TABLES
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.normalize.tables import NORM_TABLES
from ao_pipeline.notify.tables import NOTIFY_TABLES
from ao_pipeline.snapshot.tables import SNAPSHOT_TABLES
from ao_pipeline.truth.tables import TRUTH_TABLES

ALL_SPECS: Final[tuple[TableSpec, ...]] = (
    *REFERENCE_TABLES.values(),
    *RAW_TABLES,
    *NORM_TABLES,
    *TRUTH_TABLES,
    *SNAPSHOT_TABLES,
    *NOTIFY_TABLES,
)
