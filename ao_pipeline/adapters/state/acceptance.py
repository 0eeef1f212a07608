"""A person's word that a listing really shrank: it lets the asset's next commit pass where it would be refused.

The word is bound to the newest bundle of the moment. The commit that it lets pass moves on from there, so it holds once
(`test_an_accepted_drop_passes_once`).
"""

from __future__ import annotations

from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Change
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import UnknownNameError


def accept_drop(store: StateStore, asset: str, *, actor: str, reason: str, engine_token: int = 0) -> str:
    """Let the asset's next complete listing be as short as it is; return the bundle that says who said so, and why.

    Raises:
        UnknownNameError: The asset was never computed, so nothing can have shrunk.
        HoldError: It is on hold: `ao hold release ASSET --accept` accepts its size and releases it.
    """
    spec = store.spec(asset)
    head = store.head(spec.asset)
    if head is None or not head.computed_cycle:
        raise UnknownNameError(f"{spec.asset} was never computed; `ao cycle` computes it")
    cycle = Cycle.from_key(head.computed_cycle)
    intent = Intent(
        spec=spec,
        cycle=cycle,
        first_cycle=cycle,
        name=f"accept-volume:{head.seq}",
        actor=actor,
        reason=reason,
        state_cycle=head.state_cycle,
        engine_token=engine_token,
    )
    writer = store.begin(intent)
    header = writer.found or store.commit(writer, Change(spec.empty(), is_full=False)).header
    store.accept_size(spec.asset, actor=actor)
    return header.bundle_id


def is_drop_accepted(store: StateStore, asset: str) -> bool:
    """Tell whether a person's word holds for the asset's next commit."""
    head = store.head(asset)
    return head is not None and head.seq > 0 and store.accepted_seq(asset) == head.seq
