"""Refuse a listing that shrank too much: a lost permission looks exactly like everybody deleting everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ao_pipeline.errors import PermanentError


class VolumeDropError(PermanentError):
    """A complete listing holds far fewer rows than are stored. Nothing was deleted; check the permissions."""


@dataclass(frozen=True)
class VolumePolicy:
    """How far a listing may shrink between two collections.

    Attributes:
        min_ratio: Smallest accepted share of the stored rows, 0 to 1. Lower and a lost project list passes.
        min_stored_rows: Smaller tables may shrink freely, but not to nothing.
    """

    min_ratio: float = 0.5
    min_stored_rows: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.min_ratio <= 1 or self.min_stored_rows < 1:
            raise ValueError(f"volume policy {self} is out of bounds: ratio 0..1, rows at least 1")


DEFAULT_VOLUME_POLICY: Final = VolumePolicy()


def check_volume(
    stored_rows: int, listed_rows: int, policy: VolumePolicy = DEFAULT_VOLUME_POLICY, *, what: str = ""
) -> None:
    """Accept a complete listing, or refuse to take absence for deletion.

    Args:
        stored_rows: Rows of the same scope in the store.
        listed_rows: Rows in the complete listing.
        policy: The thresholds.
        what: The table, or the table and what it is of, for the message.

    Raises:
        VolumeDropError: Nothing was listed although rows are stored, or fewer than `min_ratio` of at least
            `min_stored_rows` rows. Nothing may be deleted from such a listing.
    """
    if stored_rows <= 0 or listed_rows >= stored_rows:
        return
    emptied = listed_rows == 0
    shrunk = stored_rows >= policy.min_stored_rows and listed_rows < policy.min_ratio * stored_rows
    if emptied or shrunk:
        raise VolumeDropError(
            f"{what or 'the listing'} has {listed_rows} rows where {stored_rows} are stored; refused as a volume drop."
            " Nothing was deleted. Check the credentials' access; if they are really gone,"
            f" `ao accept-volume {what.partition(' ')[0] or 'ASSET'} --reason ...` lets the next complete listing pass",
            stored_rows=stored_rows,
            listed_rows=listed_rows,
        )
