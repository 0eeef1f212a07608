"""A limit on the memory that one step adds to its process, which makes that step fail and nothing else.

The limit is `RLIMIT_DATA`: Linux counts in it what a process may write to and nobody shares, and refuses more at once. So Python,
NumPy, SQLite and Arrow see an allocation that fails, as an error that can be caught, instead of a kernel that kills the process.
Two things follow from how it counts (measured 2026-11-23, Linux 6, glibc):
1. Arrow's own allocator reserves 1 GiB at its first use, all of it counted, and then uses it unseen. So `ao_pipeline` has Arrow
   use the C library's: the same speed, and counted as it is used.
2. Each thread counts its whole stack, 8 MiB: five threads of a collector need 40 MiB of the allowance.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa

from ao_pipeline.errors import ResourceLimitError

_STATM: Final = Path("/proc/self/statm")
_MIB: Final = 2**20
_THREAD_REFUSED: Final = "can't start new thread"
"""How Python words a thread whose stack did not fit."""

_said: Final[set[str]] = set()
"""Warnings given in this process: each is given once."""


@contextmanager
def limited_memory(asset: str, *, mib: int, setting: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Let the body add at most `mib` to this process; 0 sets no limit.

    Args:
        asset: Named in the error.
        mib: The allowance.
        setting: What to change to allow more, for the message.
        warn: Told once a process where the system has no such limit.

    Raises:
        ResourceLimitError: The body needed more. What it held is given back.
    """
    before = _Limit.lower(mib, warn) if mib else None
    if before is None:
        yield
        return
    try:
        yield
    except Exception as error:
        before.restore()  # Before anything else: from here on memory is needed to say what happened.
        if not is_out_of_memory(error):
            raise
        used_mib = max(0, before.growth_mib())
        _give_back(error)
        raise ResourceLimitError(
            f"{asset} needed more than the {mib} MiB that its step may add (it held {used_mib} MiB when an allocation was refused); "
            f"raise {setting} if the data really became that large. It is tried again in the next cycle",
            asset=asset,
            limit_mib=mib,
            used_mib=used_mib,
            setting=setting,
        ) from error
    finally:
        before.restore()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or one that caused it, is an allocation that was refused."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, MemoryError) or (isinstance(cause, RuntimeError) and _THREAD_REFUSED in str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class _Limit:
    """The limit that was in force before, and how much the process held then."""

    def __init__(self, soft: int, hard: int, held: int) -> None:
        self._soft, self._hard, self._held = soft, hard, held

    @classmethod
    def lower(cls, mib: int, warn: Callable[[str], None]) -> _Limit | None:
        """Lower the limit to what the process holds and `mib` more; None where the system has no such limit."""
        if not sys.platform.startswith("linux"):
            if sys.platform not in _said:
                _said.add(sys.platform)
                warn(f"steps run without a memory limit: {sys.platform} has none that a step could catch; Linux has")
            return None
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        held = _writable_bytes()
        wanted = held + mib * _MIB
        ceilings = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min([wanted, *ceilings]), hard))
        return cls(soft, hard, held)

    def restore(self) -> None:
        """Put the earlier limit back; twice is as good as once."""
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (self._soft, self._hard))

    def growth_mib(self) -> int:
        """Return what the process holds more than before."""
        return (_writable_bytes() - self._held) // _MIB


def _writable_bytes() -> int:
    """Return what `RLIMIT_DATA` counts, a main stack of some 100 KiB included."""
    return int(_STATM.read_bytes().split()[5]) * mmap.PAGESIZE


def _give_back(error: BaseException) -> None:
    """Return to the system what the failed body held: its frames' variables, dead cycles, the allocators' caches."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
