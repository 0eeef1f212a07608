"""An engine that stops between reading its lease and committing: `python -m … <url> <holder>`; a test pauses it there."""

from __future__ import annotations

import sys
from dataclasses import replace

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.errors import FencedError
from ao_pipeline_tests.stress.histories import FIRST, intent, reopen
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row


def main() -> None:
    """Take the lease, wait to be told, then commit under it."""
    url, holder = sys.argv[1], sys.argv[2]
    store = reopen(Database(url), EVERY_TYPE)
    lease = store.leases.acquire(holder, ttl_seconds=1)
    writer = store.begin(replace(intent(EVERY_TYPE, FIRST, "run:late"), engine_token=lease.token))
    print(lease.token, flush=True)
    sys.stdin.readline()
    try:
        store.commit(writer, Change(conform(EVERY_TYPE, [row(EVERY_TYPE, "late", 1)]), is_full=True))
    except FencedError as error:
        print(f"fenced: {error}", flush=True)
    else:
        print("committed", flush=True)


if __name__ == "__main__":
    main()
