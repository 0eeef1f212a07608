"""Signs of life of the step that this process works on: who reads an answer, parses a page or commits gives a beat.

Here are only the beats. Who counts them and what follows from silence belongs to `adapters.step_watch`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ao_pipeline.errors import StepLimitError


@dataclass(slots=True)
class Pulse:
    """The beats of this process.

    Attributes:
        count: Beats so far; another number than before means progress.
        wait_seconds: How long the newest beat announced to be silent on purpose.
        verdict: Why the step must end, by class and message; None while it may go on.
    """

    count: int = 0
    wait_seconds: float = 0.0
    verdict: tuple[type[StepLimitError], str] | None = None


PULSE = Pulse()
"""One, because a process executes one step at a time."""


def beat(*, wait_seconds: float = 0.0) -> None:
    """Show that the step makes progress. Cheap enough for every answer and every page.

    Args:
        wait_seconds: How long it is going to be silent on purpose: a back-off, an upstream's `Retry-After`.

    Raises:
        StepLimitError: The step is to end. Threads that no signal can reach learn it here.
    """
    if PULSE.verdict is not None:
        kind, message = PULSE.verdict
        raise kind(message)
    PULSE.wait_seconds = wait_seconds
    PULSE.count += 1
