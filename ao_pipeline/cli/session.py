"""What one invocation of `ao` works on. Everything heavy is imported when it is first used; tests pass their own."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from ao_pipeline import clock
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import UnknownNameError

if TYPE_CHECKING:
    from ao_pipeline.adapters.state.past import Past
    from ao_pipeline.adapters.state.store import StateStore
    from ao_pipeline.bundles.schema import TableSpec
    from ao_pipeline.defs.operate import CheckOutcome, CycleOutcome

LATEST: Final = "latest"
MAX_BACK: Final = 10_000
"""Most cycles counted back; 30 days of bundles hold 2,880."""


class RequestRevert(Protocol):
    """Reverts assets where Dagster shows it; returns when that is done."""

    def __call__(self, assets: Sequence[str], cycle: Cycle, *, reason: str, hold: bool) -> None: ...


def _open_store() -> StateStore:
    from ao_pipeline.adapters.state.opening import open_store
    from ao_pipeline.settings import current_settings

    return open_store(current_settings())


def _request_revert(assets: Sequence[str], cycle: Cycle, *, reason: str, hold: bool) -> None:
    from ao_pipeline.defs.operate import request_revert
    from ao_pipeline.settings import current_settings

    request_revert(current_settings(), assets, cycle, reason=reason, actor=actor(), hold=hold)


def _run_cycle(cycle: Cycle | None) -> CycleOutcome:
    from ao_pipeline.defs.operate import run_cycle
    from ao_pipeline.settings import current_settings

    return run_cycle(current_settings(), cycle)


def _run_checks() -> list[CheckOutcome]:
    from ao_pipeline.defs.operate import run_checks
    from ao_pipeline.settings import current_settings

    return run_checks(current_settings())


def _run_supervised() -> int:
    from ao_pipeline.settings import current_settings
    from ao_pipeline.supervisor import run_supervised

    return run_supervised(current_settings())


@dataclass
class Session:
    """The state store and the engine behind it.

    Attributes:
        open_store: Opens the store, once.
        now: The instant that decides which cycles have closed.
        request_revert, run_cycle, run_checks, run_supervised: What goes through Dagster.
    """

    open_store: Callable[[], StateStore] = field(default=_open_store)
    now: Callable[[], datetime] = field(default=clock.utc_now)
    request_revert: RequestRevert = field(default=_request_revert)
    run_cycle: Callable[[Cycle | None], CycleOutcome] = field(default=_run_cycle)
    run_checks: Callable[[], list[CheckOutcome]] = field(default=_run_checks)
    run_supervised: Callable[[], int] = field(default=_run_supervised)

    @cached_property
    def store(self) -> StateStore:
        """The store, open."""
        return self.open_store()

    @cached_property
    def past(self) -> Past:
        """The store's past."""
        from ao_pipeline.adapters.state.past import Past

        return Past(self.store)

    def close(self) -> None:
        """Close the store if it was opened."""
        if "store" in self.__dict__:
            self.store.close()

    def cycle(self, text: str, *, spec: TableSpec | None) -> Cycle:
        """Return the cycle that a key, `latest` or `latest~N` names.

        Args:
            text: As typed.
            spec: Whose computed cycles `latest` counts; None for those of every asset.

        Raises:
            UnknownNameError: It is no cycle, has not closed yet, or fewer than N + 1 cycles are recorded.
        """
        if not text.startswith(LATEST):
            cycle, newest = Cycle.from_key(text), Cycle.last_closed(self.now())
            if cycle > newest:
                raise UnknownNameError(f"cycle {cycle} has not closed yet; the newest one is {newest}")
            return cycle
        back = text.removeprefix(LATEST)
        if back and not (back.startswith("~") and back[1:].isascii() and back[1:].isdigit()):
            raise UnknownNameError(f"{text!r} is not a cycle; write a key like 2026-11-22-10:15, latest or latest~1")
        return self.cycle_back(int(back[1:] or 0) if back else 0, spec=spec)

    def cycle_back(self, count: int, *, spec: TableSpec | None) -> Cycle:
        """Return the computed cycle `count` before the newest one.

        Raises:
            UnknownNameError: So many are not recorded.
        """
        wanted = min(count, MAX_BACK) + 1
        cycles = self.past.cycles(asset=spec.asset if spec else None, limit=wanted)
        if len(cycles) < wanted:
            whose = spec.asset if spec else "the store"
            window = f"; the undo window starts at {cycles[-1]}" if cycles else ""
            raise UnknownNameError(
                f"{whose} has {len(cycles)} computed cycles, so none {count} before the newest{window}"
            )
        return cycles[-1]


def actor() -> str:
    """Return who runs the command, for the record."""
    try:
        return f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # A container's user without an entry.
        return f"operator:{os.getuid()}"
