"""What a step wrote: the roots of its outputs, found in its outcome.

A step writes below ``<folder>/<step>-<attempt><suffix>`` only (see :meth:`Context.new_path`), and its outcome says what
of it counts. So the outcome tells which folders have to be there, and which are left over from attempts before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from radps.context.model import Context
from radps.context.records import StepRecord


def output_roots(record: StepRecord) -> tuple[str, ...]:
    """Return the roots of what a step wrote and its outcome refers to.

    Parameters
    ----------
    record : StepRecord
        Of a step; one without an outcome refers to nothing.

    Returns
    -------
    tuple of str
        ``<folder>/<step>-<attempt><suffix>``, relative to the run folder, sorted. What it refers to of other steps
        is not among them.
    """
    if record.outcome is None:
        return ()
    roots = {root_of(text) for text in texts_of(record.outcome.model_dump(mode="json"))}
    return tuple(sorted(root for root in roots if root.partition("/")[2].startswith(f"{record.id}-")))


def referenced_roots(context: Context) -> frozenset[str]:
    """Return the first two parts of every path that a context holds, whoever wrote it, whatever field it is in."""
    roots = {root_of(text) for text in texts_of(context.model_dump(mode="json"))}
    return frozenset(root for root in roots if root)


def root_of(path: str) -> str:
    """Return the first two parts of a path relative to the run folder; empty for a text that is no such path."""
    parts = path.split("/")
    is_path = len(parts) > 1 and "://" not in path and all(parts[:2])
    return "/".join(parts[:2]) if is_path else ""


def texts_of(value: Any) -> Iterator[str]:
    """Yield every text in plain data, at whatever depth; keys are no texts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts_of(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts_of(inner)
