"""Every asset definition, in the order in which the data flows."""

from __future__ import annotations

from typing import Final

import dagster as dg

from ao_pipeline.defs.collect import RAW_ASSETS
from ao_pipeline.defs.normalize import NORM_ASSETS
from ao_pipeline.defs.notify import NOTIFY_ASSETS
from ao_pipeline.defs.operations import OPERATIONS_ASSETS
from ao_pipeline.defs.reference import REFERENCE_ASSETS
from ao_pipeline.defs.snapshot import SNAPSHOT_ASSETS
from ao_pipeline.defs.truth import TRUTH_ASSETS

ALL_ASSETS: Final[tuple[dg.AssetsDefinition, ...]] = (
    *REFERENCE_ASSETS,
    *RAW_ASSETS,
    *NORM_ASSETS,
    *TRUTH_ASSETS,
    *SNAPSHOT_ASSETS,
    *NOTIFY_ASSETS,
    *OPERATIONS_ASSETS,
)
