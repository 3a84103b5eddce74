"""The lineage of a product: the steps from the raw data to it, and what of them goes with the product."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from radps.context.model import Context
from radps.context.records import StepRecord
from radps.errors import SelectionError

_DESCRIBED = {"stage", "attempt", "params", "fingerprint", "after", "versions", "provenance", "start_s", "stop_s"}


def lineage(records: Mapping[str, StepRecord], product: str) -> tuple[StepRecord, ...]:
    """Return the records of the steps from the raw data to a product, the one that made it last.

    Parameters
    ----------
    records : mapping
        Step -> record, in the order of the workflow: ``context.steps``.
    product : str
        Name of an image or calibration table, or path of a product.

    Raises
    ------
    SelectionError
        No step made it; lists what there is.
    """
    made_by = {name: record.id for record in records.values() for name in _names_made(record)}
    if product not in made_by:
        raise SelectionError(f"no step made {product!r}; there are: {', '.join(made_by) or 'no products yet'}")
    return steps_before(records, (made_by[product],))


def steps_before(records: Mapping[str, StepRecord], steps: Sequence[str]) -> tuple[StepRecord, ...]:
    """Return the records of some steps and of all those that they need, in the order of ``records``."""
    needed = set(steps)
    for record in reversed(tuple(records.values())):
        if record.id in needed:
            needed.update(record.after)
    return tuple(record for record in records.values() if record.id in needed)


def describe_steps(records: Iterable[StepRecord]) -> dict[str, dict[str, Any]]:
    """Return what a lineage says of each step, as plain JSON: stage, attempt, parameters, fingerprint, versions ..."""
    return {record.id: _describe(record) for record in records}


def _describe(record: StepRecord) -> dict[str, Any]:
    found = record.model_dump(mode="json", include=_DESCRIBED)
    return {"parameters" if key == "params" else key: value for key, value in found.items()}


def product_attributes(context: Context, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a product of a step carries with it, as plain JSON.

    It is the same whoever makes it, wherever and when: no run, times or hosts, which are in the step's record and in
    the manifest. So two runs of the same workflow on the same data make the same files, bit by bit.

    Parameters
    ----------
    context : Context
        Of the stage that makes the product.
    parameters : mapping
        Of the stage, with what it chose itself.
    """
    place = context.place()
    return {
        "step": place.step,
        "stage": place.stage,
        "attempt": place.attempt,
        "parameters": dict(parameters),
        "fingerprint": place.fingerprint,
        "versions": place.versions,
        "lineage": [f"{record.id}-{record.attempt}" for record in context.steps.values()],
    }


def _names_made(record: StepRecord) -> tuple[str, ...]:
    """Return the names and paths by which a user knows what a step made."""
    outcome = record.outcome
    if outcome is None:
        return ()
    return (
        *(image.name for image in outcome.images),
        *(table.name for table in outcome.tables),
        *(product.path for product in outcome.products),
    )
