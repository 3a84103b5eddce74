"""The errors that radps raises on purpose, in one tree, so that a caller can catch as wide or as narrow as needed.

::

    RadpsError
    +-- ConfigError          a workflow file is wrong; carries every problem found, not the first
    +-- DataError            the input data are missing, damaged, or of a kind that radps does not read
    |   +-- SelectionError   a field, antenna, spectral window or channel range that the data do not have
    +-- ModelError           a calibrator without a known sky model
    +-- ResourceError        a task or product that fits neither into memory nor on the disk
    +-- ContextError         a run folder that is missing, damaged, locked, or of another version
    |   +-- LockLostError    another driver took the run over, or somebody removed the lock
    +-- StageError           a stage failed; names the step and holds the cause
    |   +-- TaskTimeoutError a task, or the whole step, ran longer than it may
    +-- ClusterError         the cluster cannot be reached or lost its workers
    |   +-- ClusterLostError the scheduler is gone; what was finished is kept
    |   +-- WorkerKilledError a task took its workers with it, most likely for want of memory
    +-- MissingPackageError  something optional needs a package that is not installed

A message says what was found, what is allowed, where, and what to do. "No data" and "did not converge" are
outcomes of a stage, not errors.
"""

from __future__ import annotations

from collections.abc import Sequence


class RadpsError(Exception):
    """Base of all errors that radps raises on purpose."""


class ConfigError(RadpsError):
    """A workflow file is wrong.

    Parameters
    ----------
    source : str
        The file, or ``"<dict>"`` for a config given in Python.
    problems : sequence of str
        Every problem found, each with its place in the file, what was found, and what is allowed.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1))
        super().__init__(f"{source}: {count}\n{lines}")

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, tuple[str, ...]]]:
        """Pickle by the two arguments; the default would pass the finished message."""
        return type(self), (self.source, self.problems)


class DataError(RadpsError):
    """The input data are missing, damaged, or of a kind that radps does not read."""


class SelectionError(DataError):
    """A selection names a field, antenna, window or channel that the data do not have, or selects nothing."""


class ModelError(RadpsError):
    """A calibrator has no sky model."""


class ResourceError(RadpsError):
    """A task or product fits neither into the memory of a worker nor on the disk."""


class ContextError(RadpsError):
    """A run folder is missing, damaged, in use by another driver, or written by another version."""


class LockLostError(ContextError):
    """A driver no longer holds the lock of its run folder.

    Parameters
    ----------
    message : str
        The whole message.
    by : str
        Who has the lock now.
    """

    def __init__(self, message: str, by: str) -> None:
        super().__init__(message)
        self.by = by

    def __reduce__(self) -> tuple[type[LockLostError], tuple[str, str]]:
        """Pickle by the two arguments."""
        return type(self), (str(self), self.by)


class StageError(RadpsError):
    """A stage failed; ``__cause__`` holds the error of the task."""


class TaskTimeoutError(StageError):
    """A task, or a whole step, ran longer than it may."""


class ClusterError(RadpsError):
    """The cluster cannot be reached, or it lost its workers."""


class ClusterLostError(ClusterError):
    """The scheduler is gone in the middle of a computation."""


class WorkerKilledError(ClusterError):
    """A task took its workers with it, again and again."""


class MissingPackageError(RadpsError):
    """Something optional needs a package that is not installed."""
