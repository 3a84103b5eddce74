"""The memory that tasks are projected to take: logged, and noted for whoever has to say why one was killed."""

from __future__ import annotations

import contextlib
import contextvars
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from radps.data.urls import format_bytes

logger = logging.getLogger(__name__)

_largest: contextvars.ContextVar[LargestTask | None] = contextvars.ContextVar("radps_largest_task", default=None)


@dataclass
class LargestTask:
    """The largest of the tasks that were planned so far."""

    what: str = ""
    """What it works on: ``a block of 120 integrations``."""
    needed_bytes: float = 0.0
    memory_bytes: int = 0
    """What a task may take."""

    def __str__(self) -> str:
        """Return it in words; empty if nothing was planned."""
        if not self.what:
            return ""
        return (
            f"{self.what} was projected to take up to {format_bytes(self.needed_bytes)}, of the "
            f"{format_bytes(self.memory_bytes)} that a task may take"
        )


@contextlib.contextmanager
def find_largest_task() -> Iterator[LargestTask]:
    """Note the largest of the tasks that this thread plans in the block."""
    largest = LargestTask()
    token = _largest.set(largest)
    try:
        yield largest
    finally:
        _largest.reset(token)


def note_projection(stage: str, what: str, needed_bytes: float, memory_bytes: int) -> None:
    """Log what a task is projected to take, and note it if it is the largest so far.

    Parameters
    ----------
    stage : str
        Name of the stage.
    what : str
        What the task works on.
    needed_bytes : float
        Memory that it takes.
    memory_bytes : int
        Memory of one slot.
    """
    logger.debug("stage %s: %s takes up to %d of %d bytes of memory", stage, what, needed_bytes, memory_bytes)
    largest = _largest.get()
    if largest is not None and needed_bytes > largest.needed_bytes:
        largest.what, largest.needed_bytes, largest.memory_bytes = what, needed_bytes, memory_bytes
