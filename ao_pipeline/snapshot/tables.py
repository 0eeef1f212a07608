"""The snapshot's one table: what the owner and the leads read, one row a section."""

from __future__ import annotations

from typing import Final

from ao_pipeline.bundles.schema import TableSpec, integer, json, text

SNAPSHOT_AGENCY: Final = TableSpec(
    asset="snapshot/agency",
    row="one section of the agency's snapshot",
    key=(text("section", "trust | exceptions | clients | delivery | cash | commitments | messages | capacity"),),
    columns=(
        integer("position", "place of the section in the reading order, from 1"),
        text("status", "fresh | degraded: a source behind the section is stale, or a gate that matters to it fails"),
        integer("item_count", "facts behind the section, before its lists are cut"),
        json("body_json", "the section; its shape is described in `snapshot.sections`"),
    ),
)

SNAPSHOT_TABLES: Final = (SNAPSHOT_AGENCY,)
