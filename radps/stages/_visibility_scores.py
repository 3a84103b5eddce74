"""Judge calibrated data of calibrators: closure errors, and phases against the length of the baselines."""

from __future__ import annotations

import math
from typing import Any

from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.planning import SUM_BLOCK_BYTES, VISIBILITY_BYTES, require_memory
from radps.context.records import Partition, QAScore, ScoreScope
from radps.context.scores import score_between
from radps.context.sky import to_field_model
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.blocks import Block
from radps.node_tasks.visibility_quality import VisibilityQuality, add_error_sums, save_quality, sum_errors
from radps.stages.apply_calibration import GROUP

COPIES = 4
"""Memory of a task, in units of its visibilities: the data, their parallel hands, the model."""


def find_calibrators(context: Context) -> tuple[Partition, ...]:
    """Return the calibrated data of fields whose model is known; none as long as nothing was calibrated."""
    if context.observation is None:
        return ()
    known = {model.field for model in context.sky_models}
    return tuple(one for one in context.visibilities("all") if one.field in known and GROUP in one.groups)


def quality_graph(context: Context, partition: Partition) -> Delayed:
    """Return the graph that compares calibrated data with their model; it computes to a VisibilityQuality."""
    model = next(model for model in context.sky_models if model.field == partition.field)
    context = context.for_part(partition, model)
    name = partition.name
    parts = map_chunks(
        context, sum_errors, _time_blocks(context, partition), to_field_model(context, model), name=f"sum_errors-{name}"
    )
    return run_task(
        context,
        save_quality,
        reduce_tree(context, add_error_sums, parts, name=f"add_errors-{name}"),
        context.address(partition, GROUP).store,
        context.locate(context.new_path("context.zarr", f"{name}/visibilities", suffix="")),
        name=f"save_quality-{name}",
    )


def score_visibilities(partition: Partition, quality: VisibilityQuality) -> list[QAScore]:
    """Return the scores of calibrated data; nothing is left of some, which `apply_calibration` has scored."""
    if quality.n_baselines == 0:
        return []
    where: dict[str, Any] = {"applies_to": partition.field, "scope": ScoreScope.FIELD}
    scores = [
        score_between(
            f"phase rms of long baselines in {partition.window}",
            math.degrees(quality.long_phase_rms_rad),
            unit="deg",
            good=30.0,
            bad=70.0,
            hint="shorter solution intervals, or self-calibration; a weak calibrator scatters by its noise alone",
            **where,
        )
    ]
    if math.isfinite(quality.closure_phase_rad):
        hint = "look at CLOSURE_PHASE of each baseline: interference, a resolved calibrator, polarization leakage"
        scores += [
            score_between(
                f"closure error of phases in {partition.window}",
                math.degrees(quality.closure_phase_rad),
                unit="deg",
                good=1.0,
                bad=10.0,
                hint=hint,
                **where,
            ),
            score_between(
                f"closure error of amplitudes in {partition.window}",
                100 * quality.closure_amplitude,
                unit="%",
                good=2.0,
                bad=20.0,
                hint=hint.replace("CLOSURE_PHASE", "CLOSURE_AMPLITUDE"),
                **where,
            ),
        ]
    return scores


def summarise_visibilities(quality: VisibilityQuality) -> dict[str, float | None]:
    """Return the numbers as plain JSON, angles in degrees; None where there are no data."""
    numbers = {
        "closure_amplitude": quality.closure_amplitude,
        "closure_phase_deg": math.degrees(quality.closure_phase_rad),
        "phase_rms_long_deg": math.degrees(quality.long_phase_rms_rad),
        "phase_rms_short_deg": math.degrees(quality.short_phase_rms_rad),
        "phase_rms_slope": quality.phase_slope,
    }
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _time_blocks(context: Context, partition: Partition) -> list[Block]:
    """Cut a partition along time into pieces of a fixed size: they are summed, whatever the cluster is."""
    n_times, n_baselines, n_channels, n_polarizations = partition.shape
    row_bytes = COPIES * n_baselines * n_channels * n_polarizations * VISIBILITY_BYTES
    align = partition.chunks[0]
    step = max(1, SUM_BLOCK_BYTES // row_bytes)
    step = step // align * align or step
    require_memory(context, f"{min(step, n_times)} integrations of {partition.name}", row_bytes * min(step, n_times))
    return [
        Block(
            partition=partition.name,
            address=context.address(partition, GROUP),
            times=(start, min(start + step, n_times)),
            channels=(0, n_channels),
        )
        for start in range(0, n_times, step)
    ]
