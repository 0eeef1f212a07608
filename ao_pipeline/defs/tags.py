"""Run tags of our own: how a run says what it is for. Sensors filter on them, so that healing never feeds itself."""

from __future__ import annotations

from typing import Final

PURPOSE: Final = "ao/purpose"
"""cycle | follow-up | catch-up | heal | revert | recompute | checks; absent on runs that a person started in the UI."""

HEAL: Final = "heal"
"""Purpose of a run that computes stale assets again, outside the regular cycles."""

AUTOMATIC: Final = frozenset({"cycle", "follow-up", "catch-up", HEAL})
"""Purposes of runs that the engine asks for by itself: they compute, and never restore."""

OPENING: Final = frozenset({"cycle", "catch-up"})
"""Purposes of runs that begin a cycle; the others continue one."""

FOLLOWS: Final = "ao/follows"
"""Root run whose cycle a follow-up finishes: what both wrote counts as the cycle's outcome."""

REASON: Final = "ao/reason"
ACTOR: Final = "ao/actor"
HOLD: Final = "ao/hold"
"""`true`: put the asset on hold after reverting it."""

TAKES_BACK: Final = "ao/takes_back"
"""Asset whose refused commit the engine takes back with this run."""

ATTEMPT: Final = "ao/attempt"
"""How often the engine has asked for it."""

ENGINE_LEASE: Final = "ao/engine_lease"
"""Token of the engine's lease that the run was asked for under: a newer one fences it off."""

CYCLE: Final = "ao/cycle"
"""Newest cycle of the run: its partition."""

FIRST_CYCLE: Final = "ao/first_cycle"
"""Oldest cycle that the run covers, when it takes missed ones along: it computes the newest and stands for all of them."""

RETRIES_REQUESTED: Final = "ao/retries_requested"
"""How often a failed run's lost retry was asked for again."""

BREAKERS: Final = "ao/breakers"
"""Circuit breakers that kept something out of the run, if any."""

PROBES: Final = "ao/probes"
"""Assets that the run tries although a circuit breaker is not closed, if any."""
