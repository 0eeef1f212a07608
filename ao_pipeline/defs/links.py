"""Which column of which table names a row of which other table: what `references_resolve_…` checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENT_IDENTITIES, REF_CLIENTS, REF_TEAM
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.tables import (
    NORM_INVOICE_LINKS,
    NORM_INVOICES,
    NORM_PROJECT_LINKS,
    NORM_PROJECTS,
    NORM_TASK_LINKS,
    NORM_TASKS,
)
from ao_pipeline.truth.tables import TRUTH_CLIENT_HEALTH, TRUTH_TIME_BLOCKS


@dataclass(frozen=True)
class Reference:
    """Non-NULL values of `column` in `table` are keys of `target`, whose key is one column."""

    table: TableSpec
    column: str
    target: TableSpec

    def __post_init__(self) -> None:
        if self.column not in self.table.column_names or len(self.target.key) != 1:
            raise ContractError(
                f"{self.table.name}.{self.column} cannot name a row of {self.target.name}: check both specs"
            )

    @property
    def name(self) -> str:
        """The check's name."""
        return f"{self.column}_resolves"


REFERENCES: Final = (
    Reference(REF_BRANDS, "client_id", REF_CLIENTS),
    Reference(REF_CLIENT_IDENTITIES, "client_id", REF_CLIENTS),
    Reference(NORM_PROJECT_LINKS, "project_id", NORM_PROJECTS),
    Reference(NORM_PROJECT_LINKS, "brand_id", REF_BRANDS),
    Reference(NORM_PROJECT_LINKS, "client_id", REF_CLIENTS),
    Reference(NORM_TASKS, "project_id", NORM_PROJECTS),
    Reference(NORM_TASKS, "member_id", REF_TEAM),
    Reference(NORM_TASK_LINKS, "task_id", NORM_TASKS),
    Reference(NORM_TASK_LINKS, "client_id", REF_CLIENTS),
    Reference(NORM_INVOICE_LINKS, "invoice_id", NORM_INVOICES),
    Reference(NORM_INVOICE_LINKS, "client_id", REF_CLIENTS),
    Reference(TRUTH_TIME_BLOCKS, "task_id", NORM_TASKS),
    Reference(TRUTH_CLIENT_HEALTH, "client_id", REF_CLIENTS),
)
