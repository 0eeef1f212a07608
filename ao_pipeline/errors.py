"""Every error that may cross a package: would the same call work later, or not?

Two halves, chosen by that one question. `defs` maps them to Dagster's retry systems in one place; nothing else decides.
A message names the thing, the culprit and the fix, and never holds a secret or a row's contents.
"""

from __future__ import annotations

from typing import Any, Literal


class AoError(Exception):
    """Root of the project's own errors. `details` keeps the data behind the message."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = details


class TransientError(AoError):
    """The same call may work later: time-outs, resets, 429, 5xx, a locked database. Only these feed a circuit breaker."""


class PermanentError(AoError):
    """The same call cannot work later without a human or a code change. Never retried."""


class BudgetExhaustedError(TransientError):
    """An upstream asked to wait longer than the run may. Stop politely and keep what is complete."""


class StepLimitError(TransientError):
    """A step went over what one step may use. It alone fails, is not tried again in this run, and is due in the next cycle."""


class ResourceLimitError(StepLimitError):
    """A step needed more memory than it may have. What it held was given back; nothing of it was written."""


class StepTimeoutError(StepLimitError):
    """A step took longer than it may, or its run had no time left for it. Nothing of it was written."""


class StepStalledError(StepLimitError):
    """A step made no progress: no answer, no page, no commit and no computing. Nothing of it was written."""


class CursorExpiredError(AoError):
    """The upstream forgot our cursor. Normal: answered by a full listing in a new generation, feeds no breaker."""


class AuthError(PermanentError):
    """Credentials are missing, revoked or lack a scope."""


class ContractError(PermanentError):
    """Data does not have the agreed shape. Nothing of the refused unit was written."""


class ConfigError(PermanentError):
    """A setting or a reference file is wrong. The message names it and the fix."""


class UnknownNameError(PermanentError):
    """A cycle, asset, bundle or table that does not exist was named."""


class HoldError(PermanentError):
    """The asset is on hold: a human or the engine froze it after a revert."""


class ConflictError(PermanentError):
    """Rows changed since the bundle that is to be taken back. They were left alone."""


class FencedError(PermanentError):
    """A newer writer has taken the asset over; this one may not commit any more."""


class StandbyError(PermanentError):
    """Another engine acts on this state store. Nothing was written."""


class IntegrityError(PermanentError):
    """A recomputed hash differs from the recorded one. Nothing was committed."""


def category_of(error: BaseException) -> Literal["transient", "permanent", "bug"]:
    """Return what an exception says about the next try: it may work, it cannot, or nobody expected this one.

    Only transient errors and bugs feed a circuit breaker. Expired cursors, refused credentials, foreign shapes and wrong
    settings do not: leaving an upstream alone heals none of them.
    """
    if isinstance(error, TransientError):
        return "transient"
    return "permanent" if isinstance(error, AoError) else "bug"
