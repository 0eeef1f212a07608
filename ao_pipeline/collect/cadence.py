"""How often each source is collected: the only place that holds an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ao_pipeline.clock import EPOCH
from ao_pipeline.cycle import CYCLE_MINUTES, Cycle
from ao_pipeline.errors import ConfigError, UnknownNameError


@dataclass(frozen=True)
class Cadence:
    """Minutes between two collections of each asset; multiples of the cycle, so that every cycle knows its share."""

    interval_minutes: Mapping[str, int]

    def __post_init__(self) -> None:
        for asset, minutes in self.interval_minutes.items():
            if minutes < CYCLE_MINUTES or minutes % CYCLE_MINUTES:
                raise ConfigError(f"{asset} every {minutes} minutes does not fit; use a multiple of {CYCLE_MINUTES}")

    def is_due(self, asset: str, cycle: Cycle) -> bool:
        """Return whether `cycle` collects `asset`: a fact of the cycle alone, so that a replay decides the same.

        Raises:
            UnknownNameError: The policy has no such asset.
        """
        minutes = self.interval_minutes.get(asset)
        if minutes is None:
            raise UnknownNameError(f"{asset!r} has no cadence; known are {sorted(self.interval_minutes)}")
        elapsed_minutes = int((cycle.start - EPOCH).total_seconds()) // 60
        return elapsed_minutes % minutes == 0


CADENCE: Final = Cadence(
    MappingProxyType(
        {
            "raw/asana_users": 60,
            "raw/asana_projects": 15,
            "raw/asana_sections": 60,
            "raw/asana_tasks": 15,
            "raw/asana_stories": 60,
            "raw/gmail_messages": 15,
            "raw/calendar_calendars": 60,
            "raw/calendar_events": 15,
            "raw/chat_spaces": 60,
            "raw/chat_members": 60,
            "raw/chat_messages": 15,
            "raw/gtasks_lists": 60,
            "raw/gtasks_tasks": 60,
            "raw/people_contacts": 60,
            "raw/drive_files": 60,
            "raw/xero_contacts": 60,
            "raw/xero_invoices": 60,
            "raw/xero_payments": 60,
            "raw/xero_credit_notes": 60,
        }
    )
)
"""What people wait for comes every cycle. Xero bills calls; users and spaces rarely change."""


def is_due(asset: str, cycle: Cycle) -> bool:
    """Return whether `cycle` collects `asset` under the policy in force."""
    return CADENCE.is_due(asset, cycle)
