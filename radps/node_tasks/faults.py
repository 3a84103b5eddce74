"""Simulated failures of tasks, to prove that retries and resuming absorb the real ones.

Whether a task is struck depends on the seed, its key and the number of its try, and on nothing else: the same seed
strikes the same tasks on every cluster.
"""

from __future__ import annotations

import enum
import fnmatch
import hashlib

from pydantic import BaseModel, ConfigDict, Field

from radps.units import Duration


class FaultKind(enum.StrEnum):
    """What happens to a task that is struck."""

    EXCEPTION = "exception"
    """It raises."""
    WORKER_DEATH = "worker-death"
    """The process that it runs in is killed; without worker processes it raises."""
    SLOW = "slow"
    """It starts late."""


class Faults(BaseModel):
    """Which tasks fail, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rate: float = Field(ge=0.0, le=1.0)
    """Probability that one try of a task is struck."""
    seed: int = 0
    """Another seed strikes other tasks."""
    tasks: str = "*"
    """Names of tasks as the dashboard shows them, without the step, ``clean_*``, or with it, ``cube.*``."""
    kind: FaultKind = FaultKind.EXCEPTION
    """exception, worker-death or slow."""
    delay: Duration = Field(default=1.0, gt=0.0)
    """How late a slow task starts."""

    def strikes(self, key: str, number: int) -> bool:
        """Return True if the try ``number`` (from 1) of a task is struck."""
        if not (fnmatch.fnmatchcase(key, self.tasks) or fnmatch.fnmatchcase(key.partition(".")[2], self.tasks)):
            return False
        digest = hashlib.sha256(f"{self.seed} {key} {number}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.rate * 2**64


class SimulatedFaultError(Exception):
    """A failure that the config asked for."""
