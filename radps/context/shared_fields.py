"""Which shared fields of the context an outcome fills, so that no two steps fill the same one at the same time.

Images, products and scores are known by their step: any number of steps may add some. All other fields are shared.
"""

from __future__ import annotations

from radps.context.records import Outcome

_SHARED = (
    "dataset_paths",
    "observation",
    "sky_models",
    "tables",
    "flux_densities",
    "line_free",
    "line_searches",
    "planned_images",
)


def written_fields(outcome: Outcome) -> tuple[str, ...]:
    """Return the shared fields of the context that an outcome fills, sorted.

    Each is a field of :class:`~radps.context.records.Outcome`; of ``groups`` each version of the data is one
    (``groups.corrected``).
    """
    # An empty line_free says something: no range is free of lines.
    found = {name for name in _SHARED if getattr(outcome, name) != Outcome.model_fields[name].default}
    if outcome.applied or outcome.removed_tables:
        found.add("tables")
    found.update(f"groups.{name}" for groups in outcome.groups.values() for name in groups)
    return tuple(sorted(found))
