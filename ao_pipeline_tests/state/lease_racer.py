"""One of several engines that race for a lease, in a process of its own: `python -m … <url> <holder> <rounds>`.

It prints one JSON line a round: the lease that it was given, and whether a commit under its token went through.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.leases import Leases, refuse_displaced
from ao_pipeline.errors import FencedError

TTL_SECONDS = 0
"""Every lease has run out when it is given: each turn is a takeover."""


def main() -> None:
    """Race; print what happened."""
    url, holder, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    database = Database(url)
    leases = Leases(database)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(rounds):
        lease = leases.acquire(holder, ttl_seconds=TTL_SECONDS)
        committed = False
        # Another one took the lease between the two: that is the race.
        with suppress(FencedError), database.write(is_durable=False) as connection:
            refuse_displaced(connection, lease.token)
            committed = lease.holder == holder
        print(json.dumps({"holder": lease.holder, "token": lease.token, "committed": committed}))
    database.close()


if __name__ == "__main__":
    main()
