"""One engine acts on a state store: who this one is, and whether it is the one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from ao_pipeline.adapters.engine_identity import engine_identity
from ao_pipeline.adapters.state.leases import Lease
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.errors import StandbyError
from ao_pipeline.settings import Settings


def standby_reason(store: StateStore, settings: Settings) -> str | None:
    """Renew this engine's lease, or take it when it is free. Return why this engine may not act, None when it may."""
    lease = store.leases.acquire(engine_identity(settings))
    return None if lease.holder == engine_identity(settings) else _standby(lease)


def join_engine(store: StateStore, settings: Settings) -> int:
    """Return the token under which this machine may write.

    Raises:
        StandbyError: Another engine acts on this store; the message says which and what to do.
    """
    lease = store.leases.acquire(engine_identity(settings))
    if lease.holder != engine_identity(settings):
        raise StandbyError(_standby(lease), holder=lease.holder, token=lease.token)
    return lease.token


@contextmanager
def borrowed_engine(settings: Settings) -> Iterator[int]:
    """Act for a command's length: under the running engine's token, or under one that is given back at the end.

    Raises:
        StandbyError: Another engine acts on this store.
    """
    with closing(open_store(settings)) as store, borrowed_on(store, settings) as token:
        yield token


@contextmanager
def borrowed_on(store: StateStore, settings: Settings) -> Iterator[int]:
    """Do the same on a store that is open already."""
    before = store.leases.current()
    is_borrowed = before is None or store.leases.is_expired(before)
    token = join_engine(store, settings)
    try:
        yield token
    finally:
        lease = store.leases.current()
        if is_borrowed and lease is not None and lease.token == token:
            store.leases.release(lease)


def _standby(lease: Lease) -> str:
    return (
        f"standby: engine {lease.holder} holds the lease on this state store (token {lease.token}); this one takes over by itself "
        "when that one has been silent for 90 s, or at once by `ao engine take --yes`"
    )
