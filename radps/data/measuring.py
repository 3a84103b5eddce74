"""What a piece of work costs: bytes that it writes, memory that it takes at most."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass

_RESET_PEAK = "/proc/self/clear_refs"
_STATUS = "/proc/self/status"

_meter: contextvars.ContextVar[Cost | None] = contextvars.ContextVar("radps_cost", default=None)


@dataclass
class Cost:
    """What was measured so far."""

    bytes_written: int = 0
    """Of arrays and files, before compression."""
    peak_memory_bytes: int = 0
    """Resident memory of the process at its highest; 0 where the system does not say (it is not Linux)."""


@contextlib.contextmanager
def measure() -> Iterator[Cost]:
    """Measure what the block costs; the memory is known at its end.

    Bytes are those that this thread writes by :mod:`radps.data`. Memory is that of the whole process: of one task, if
    the process runs one at a time.
    """
    cost = Cost()
    token = _meter.set(cost)
    # Linux counts the peak since the process began, unless it is told to begin anew.
    with contextlib.suppress(OSError), open(_RESET_PEAK, "w", encoding="ascii") as stream:
        stream.write("5")
    try:
        yield cost
    finally:
        _meter.reset(token)
        cost.peak_memory_bytes = _peak_memory_bytes()


def count_written(size_bytes: int) -> None:
    """Add to what the current block has written."""
    cost = _meter.get()
    if cost is not None:
        cost.bytes_written += size_bytes


def _peak_memory_bytes() -> int:
    with contextlib.suppress(OSError), open(_STATUS, encoding="ascii", errors="replace") as stream:
        for line in stream:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
