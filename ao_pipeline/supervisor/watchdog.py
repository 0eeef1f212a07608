"""`python -m ao_pipeline.supervisor.watchdog MARK`: end the supervisor's processes when the supervisor itself was killed.

It reads from a pipe that only the supervisor holds open. End of file means that the supervisor is gone, by whatever
signal: after an orderly stop there is nothing left to end.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

from ao_pipeline.supervisor.tree import end_all

GRACE_SECONDS: Final = 5.0


def main(mark: str) -> int:
    """Wait for the supervisor's end, then end what it left; return the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while os.read(sys.stdin.fileno(), 1):
        pass
    end_all(mark, grace_seconds=GRACE_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
