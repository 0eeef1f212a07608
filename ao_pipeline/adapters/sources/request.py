"""What a collector is asked, and the client that it works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import pyarrow as pa

from ao_pipeline import clock
from ao_pipeline.adapters.sources.exchange import TokenProvider
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.tokens import GOOGLE_SCOPES, FixedToken, GoogleTokens
from ao_pipeline.adapters.sources.xero_tokens import XeroTokens
from ao_pipeline.bundles.since import Since
from ao_pipeline.collect.volume import check_volume
from ao_pipeline.errors import UnknownNameError
from ao_pipeline.settings import Settings

OVERLAP: Final = timedelta(minutes=10)
"""How far a watermark lies before its request. Vendors index changes late; five minutes are the least advised."""


class ReadTable(Protocol):
    """Read a stored table by its asset: key and named columns.

    Of all rows, of those whose first named column is in `only`, or of the `most` with the latest instants in it that lie
    before a place: an instant and a key.
    """

    def __call__(
        self,
        asset: str,
        columns: Sequence[str],
        /,
        *,
        only: Sequence[str] | None = None,
        before: tuple[datetime, str] | None = None,
        most: int | None = None,
    ) -> pa.Table: ...


def no_tables(asset: str, _columns: Sequence[str], /, **_part: Any) -> pa.Table:
    """Refuse to read a table: the default of a collection that was given none.

    Raises:
        UnknownNameError: Always.
    """
    raise UnknownNameError(f"{asset} cannot be read in this collection; pass stored_table")


class ReadChanges(Protocol):
    """Tell what a stored table became since a mark that an earlier answer gave; without one, where it stands."""

    def __call__(self, asset: str, mark: str, /) -> Since: ...


def no_changes(asset: str, _mark: str, /) -> Since:
    """Refuse to read a table's changes: the default of a collection that was given no reader.

    Raises:
        UnknownNameError: Always.
    """
    raise UnknownNameError(f"changes of {asset} cannot be read in this collection; pass changes_since")


@dataclass(frozen=True)
class CollectionRequest:
    """One collection to make.

    Attributes:
        settings: Addresses, credentials, limits.
        cursor: What the last committed collection of this asset left; None asks for a full listing.
        stored_keys: Reads the key columns of all stored rows; called only when absence has to be told from presence.
        now: The cycle's end.
        stored_table: Reads columns of a stored table, for a collector that follows another table.
        changes_since: Reads what changed in a stored table, for a collector that follows another table.
        accepts_drop: Whether a person said that what is missing from a complete listing is really gone.
        sleep: Waits; a test passes its own.
        monotonic: Measures durations; a test passes its own.
    """

    settings: Settings
    cursor: Mapping[str, Any] | None
    stored_keys: Callable[[], pa.Table]
    now: datetime
    stored_table: ReadTable = no_tables
    changes_since: ReadChanges = no_changes
    accepts_drop: bool = False
    sleep: Callable[[float], None] = clock.sleep
    monotonic: Callable[[], float] = clock.monotonic_seconds

    def check_volume(self, stored_rows: int, listed_rows: int, *, what: str) -> None:
        """See `collect.volume.check_volume`; what a person accepted passes.

        Raises:
            VolumeDropError: The listing shrank too much to be believed.
        """
        if not self.accepts_drop:
            check_volume(stored_rows, listed_rows, what=what)

    def generation(self) -> int:
        """Return the number of the listing that the cursor continues; 0 before the first."""
        return int(self.cursor["generation"]) if self.cursor else 0

    def watermark(self, server_time: datetime | None) -> datetime:
        """Return where the next collection starts.

        The earlier of the upstream's clock and the cycle's end, minus the overlap: a wrong clock of ours must not skip
        changes, and a cycle that is caught up late reads a little more.
        """
        return min(self.now, server_time or self.now) - OVERLAP

    def open(self, source: str) -> SourceClient:
        """Return a client of `source`; the caller closes it."""
        return SourceClient(
            source,
            settings=self.settings,
            tokens=_tokens(source, self.settings, self.monotonic),
            sleep=self.sleep,
            monotonic=self.monotonic,
            exact_numbers=source == "xero",
        )


def _tokens(source: str, settings: Settings, monotonic: Callable[[], float]) -> TokenProvider:
    if source == "asana":
        return FixedToken(settings.asana_token.get_secret_value())
    if source == "xero":
        return XeroTokens(settings, monotonic=monotonic)
    return GoogleTokens(
        settings.google_credentials_path,
        GOOGLE_SCOPES[source],
        default_subject=settings.google_subject,
        monotonic=monotonic,
    )
