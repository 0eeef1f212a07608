"""What a table became since somebody last looked at it: for a reader that follows another asset's table."""

from __future__ import annotations

from dataclasses import dataclass

from ao_pipeline.bundles.changes import ChangeSet


@dataclass(frozen=True)
class Since:
    """The answer to a mark that an earlier answer gave.

    Attributes:
        mark: Stands for the table as it is now; empty before its first bundle.
        changes: The net change from the mark asked for to now: a row that came and went in between is not in it. None
            when it cannot be told: no mark, one of another chain, or bundles in between that are gone, damaged or large.
    """

    mark: str
    changes: ChangeSet | None
