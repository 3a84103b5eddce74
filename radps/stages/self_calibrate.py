"""Calibrate the target by its own image, in cycles, as long as the image gets better."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.records import (
    CalibrationTable,
    DataGroup,
    ImageRecord,
    Outcome,
    OutcomeStatus,
    Partition,
    QAScore,
    ScoreScope,
)
from radps.context.scores import score_between
from radps.domain.self_calibration import TrialQuality, expected_solution_snr, judge_trial
from radps.domain.solution_intervals import SolutionInterval
from radps.domain.stefcal import GainMode, GainOptions, Robustness
from radps.errors import SelectionError
from radps.graph_tasks.shapes import run_task
from radps.node_tasks.calibration import merge_solve_summaries
from radps.node_tasks.model_subtraction import stored_model
from radps.node_tasks.self_calibration import drop_trial
from radps.stages import image_continuum
from radps.stages._calibration import antenna_index, check_baselines
from radps.stages._calibration_params import Interval
from radps.stages._imaging import ImageTarget
from radps.stages._self_calibration import (
    SOURCE,
    SelfCalibrationCycle,
    SolvedTable,
    correct_graphs,
    model_graph,
    rank_graph,
    solve_graphs,
    with_source,
)
from radps.stages._solution_scores import flagged_percent

GROUP = "self_calibrated"
"""Data group of what this stage makes."""


class Params(image_continuum.Params):
    """Parameters of the stage `self_calibrate`; those of the images are the ones of `image_continuum`."""

    writes = ("groups.self_calibrated", "tables")

    phase_intervals: tuple[Interval, ...] = ("scan", 60.0, "integration")
    """Lengths of the solutions for phases, one cycle each, tried in this order; those that are no shorter than the one
    before them are passed over."""
    amplitude_intervals: tuple[Interval, ...] = ("scan",)
    """Lengths of the solutions for amplitudes and phases, after the best phases are divided out; none leaves them."""
    max_rounds: int = Field(default=3, ge=1)
    """Rounds of phases and amplitudes at most; there is another one as long as the amplitudes make the image better."""
    combine_windows: bool = False
    """One solution from all spectral windows together (CASA `combine="spw"`), for faint targets."""
    reference_antenna: str = "auto"
    """Antenna whose phase is zero; "auto" takes one near the centre of the array with few flags."""
    min_snr: float = Field(default=3.0, ge=0.0)
    """Solutions with a lower signal-to-noise ratio are flagged, and intervals that promise a lower one not tried."""
    min_baselines: int = Field(default=4, ge=2)
    """Antennas with fewer baselines that have data are flagged."""
    robust_gains: Robustness = Robustness.NONE
    """What becomes of visibilities that are far off a solution: "none" counts them as all others, "huber" the less the
    farther they are off, "reject" leaves those out that are off by more than five times the noise (CASA `solmode`); as
    `robust` of `calibrate`, which is that of the weights here. Images are made of all data."""
    min_improvement: float = Field(default=0.05, ge=0.0)
    """A cycle is kept if the signal-to-noise ratio of the image rises by more than this part: gains lower the residual
    of perfect data by some per cent too, because they fit a part of the noise, and of what CLEAN has left."""
    max_beam_growth: float = Field(default=0.05, ge=0.0)
    """A cycle is dropped if the area of the beam grows by more than this part."""


class _State(NamedTuple):
    """The best version of the data so far."""

    number: int
    """Of the cycle that made it; 0 = as the data came."""
    image: ImageRecord
    quality: TrialQuality
    groups: dict[str, DataGroup]
    """Partition -> its arrays; empty: as the data came."""
    phases: tuple[SolvedTable, ...] = ()
    amplitudes: tuple[SolvedTable, ...] = ()
    flagged_percent: float = 0.0


class _Result(NamedTuple):
    """What became of one field."""

    target: ImageTarget
    first: _State
    best: _State
    reference_antenna: str
    cycles: tuple[dict[str, Any], ...]


def self_calibrate(context: Context, params: Params) -> Generator[Delayed, Any, Outcome]:
    """Image, predict, solve, apply, and image again, with shrinking intervals; keep what makes the image better.

    1. The data are imaged; the CLEAN model is the model of the sky.
    2. For each interval: the gains of the data against the newest model, the data corrected by them in a version of
       their own, and an image of it. The cycle is kept if the signal-to-noise ratio of the image rises, and its image
       gives the next model; else its version of the data is deleted, and the next interval starts from the best one.
    3. First phases, then amplitudes and phases after the best phases are divided out; these are normalised, so that
       the flux-density scale stays. Where amplitudes were kept, the shortest phases and they are tried once more in
       another round.

    If no cycle was kept, the field is as it was, and the outcome says so: no data group, no tables, no images.
    """
    check_baselines(context, params.min_baselines)
    results = []
    targets = image_continuum.find_continuum_targets(context, params)
    for target in targets:
        result = yield from _calibrate_field(context, params, target)
        results.append(result)
    outcome = _finish(
        results, [table for table in context.calibration.tables if table.kind in ("self_phase", "self_gain")]
    )
    left_out = image_continuum.describe_unimaged(context, params, targets)
    return outcome.model_copy(update={"message": "; ".join([outcome.message, *left_out])})


def _calibrate_field(context: Context, params: Params, target: ImageTarget) -> Generator[Delayed, Any, _Result]:
    """Drive the cycles of one field."""
    target = with_source(target, [_choose_source(context, params, one) for one in target.partitions])
    order: tuple[int, ...] = yield rank_graph(context, target, antenna_index(context, params.reference_antenna))
    first = yield from _image(context, params, target, 0, {})
    state, plan, rows = first, plan_cycles(params, target), []
    for _ in range(params.max_rounds):
        before = state
        state, found = yield from _run_cycles(context, params, target, plan, state, order)
        rows += found
        if state.amplitudes is before.amplitudes:
            break
        plan = _next_round(plan, found)
    antenna = context.require_observation().antennas[order[0]].name
    return _Result(target, first, state, antenna, tuple(rows))


def _choose_source(context: Context, params: Params, partition: Partition) -> str:
    """Return the version of the data to start from: never one that this stage made, whose gains would be lost."""
    if params.data_group == GROUP:
        raise SelectionError(
            f"data_group {GROUP!r} is what self_calibrate makes itself; it starts from data before that: "
            f"{', '.join(name for name in partition.groups if name != GROUP)}"
        )
    others = {name: group for name, group in partition.groups.items() if name != GROUP}
    source = image_continuum.choose_data_group(params, partition.model_copy(update={"groups": others}))
    context.address(partition, source)  # refuses a version that there is not
    return source


def _run_cycles(
    context: Context,
    params: Params,
    target: ImageTarget,
    cycles: Sequence[SelfCalibrationCycle],
    state: _State,
    order: Sequence[int],
) -> Generator[Delayed, Any, tuple[_State, list[dict[str, Any]]]]:
    """Try cycles one after the other; returns the best version of the data, and the numbers of each cycle."""
    rows = []
    for cycle in cycles:
        expected = _expected_snr(context, params, target, cycle, state.quality)
        row: dict[str, Any] = {"cycle": str(cycle), "expected_solution_snr": expected}
        if expected < params.min_snr:
            row |= {"kept": False, "reason": f"too faint: min_snr is {params.min_snr:g}"}
        else:
            trial, numbers = yield from _try_cycle(context, params, target, cycle, state, order)
            reason = judge_trial(
                state.quality,
                trial.quality,
                min_improvement=params.min_improvement,
                max_beam_growth=params.max_beam_growth,
            )
            yield _drop_graph(context, cycle, target, trial if reason else state)
            state = state if reason else trial
            row |= {**numbers, "kept": reason is None, "reason": reason or ""}
        rows.append(row)
    return state, rows


def _next_round(
    cycles: Sequence[SelfCalibrationCycle], rows: Sequence[dict[str, Any]]
) -> tuple[SelfCalibrationCycle, ...]:
    """Return the shortest phases that were tried, and the last amplitudes that were kept, to be tried again.

    Errors of amplitudes hide what phases bring, and those of phases lower the amplitudes; the model is better now, too.
    """
    done = list(zip(cycles, rows, strict=True))
    phases = [one for one, row in done if one.mode is GainMode.PHASE and "signal_to_noise" in row]
    amplitudes = [one for one, row in done if one.mode is not GainMode.PHASE and row["kept"]]
    again = (*phases[-1:], *amplitudes[-1:])
    return tuple(one._replace(number=cycles[-1].number + number) for number, one in enumerate(again, 1))


def plan_cycles(params: Params, target: ImageTarget) -> tuple[SelfCalibrationCycle, ...]:
    """Return the cycles that are tried: intervals of each kind that shrink."""
    plan: list[tuple[GainMode, SolutionInterval]] = []
    for mode, intervals in (
        (GainMode.PHASE, params.phase_intervals),
        (GainMode.AMPLITUDE_PHASE, params.amplitude_intervals),
    ):
        shortest = math.inf
        for interval in intervals:
            length = _length_s(target, interval)
            if length < shortest:
                plan.append((mode, interval))
                shortest = length
    return tuple(SelfCalibrationCycle(number, mode, interval) for number, (mode, interval) in enumerate(plan, 1))


def _length_s(target: ImageTarget, interval: SolutionInterval) -> float:
    """Return the length of an interval [s]; it is never longer than a scan or shorter than an integration."""
    integration = max(one.integration_time_s for one in target.partitions) or 1.0
    scan = max(stop - start for one in target.partitions for start, stop in one.scans.values()) * integration
    lengths = {"scan": scan, "integration": integration}
    return lengths[interval] if isinstance(interval, str) else min(max(interval, integration), scan)


def _expected_snr(
    context: Context, params: Params, target: ImageTarget, cycle: SelfCalibrationCycle, quality: TrialQuality
) -> float:
    """Return the signal-to-noise ratio that the solutions of a cycle promise."""
    integration = max(one.integration_time_s for one in target.partitions) or 1.0
    windows = {one.window: one for one in target.partitions}
    total = max(
        sum(one.shape[0] for one in target.partitions if one.window == window) * integration for window in windows
    )
    n_hands = 2 if len(target.partitions[0].polarizations) > 1 else 1
    return expected_solution_snr(
        quality.snr,
        len(context.require_observation().antennas),
        _length_s(target, cycle.interval),
        total,
        n_hands * (1 if params.combine_windows else len(windows)),
    )


def _image(
    context: Context, params: Params, target: ImageTarget, number: int, groups: dict[str, DataGroup]
) -> Generator[Delayed, Any, _State]:
    """Image a version of the data."""
    partitions = tuple(
        one.model_copy(update={"groups": {SOURCE: groups.get(one.name, one.groups[SOURCE])}})
        for one in target.partitions
    )
    trial = target._replace(name=f"{target.name}-cycle{number}", partitions=partitions)
    imaging = params.model_copy(update={"data_group": SOURCE})
    record, _ = yield from image_continuum.image_target(context, imaging, trial)
    beam = record.beam
    quality = TrialQuality(
        record.statistics.max, record.noise_jy, math.nan if beam is None else beam.major_rad * beam.minor_rad
    )
    return _State(number, record.model_copy(update={"planned": None}), quality, groups)


def _try_cycle(
    context: Context,
    params: Params,
    target: ImageTarget,
    cycle: SelfCalibrationCycle,
    state: _State,
    order: Sequence[int],
) -> Generator[Delayed, Any, tuple[_State, dict[str, Any]]]:
    """Solve, correct and image; returns what came of it, and its numbers."""
    trial_target = target._replace(name=f"{target.name}-cycle{cycle.number}")
    graph, url = model_graph(context, trial_target, state.image)
    stored = yield graph
    before = state.amplitudes if cycle.mode is GainMode.PHASE else state.phases
    options = GainOptions(cycle.mode, params.min_baselines, params.min_snr, robust=params.robust_gains)
    tables, graphs = solve_graphs(
        context,
        trial_target,
        cycle,
        stored_model(url, stored),
        before,
        order,
        options,
        combine_windows=params.combine_windows,
    )
    parts = yield run_task(context, merge_parts, graphs, name=f"merge_solutions-{trial_target.name}")
    summary = merge_solve_summaries(parts)
    groups, corrected = correct_graphs(context, trial_target, [*before, *tables])
    counts = yield run_task(context, merge_parts, corrected, name=f"merge_corrected-{trial_target.name}")
    imaged = yield from _image(context, params, target, cycle.number, groups)
    flagged = flagged_percent(summary)
    trial = imaged._replace(
        phases=tuple(tables) if cycle.mode is GainMode.PHASE else state.phases,
        amplitudes=state.amplitudes if cycle.mode is GainMode.PHASE else tuple(tables),
        flagged_percent=flagged,
    )
    n_before, n_after = (sum(getattr(one, name) for one in counts) for name in ("n_flagged_before", "n_flagged_after"))
    return trial, {
        **_numbers(trial),
        "median_solution_snr": float(np.median(summary.snr)) if summary.snr else 0.0,
        "flagged_solutions_percent": flagged,
        "outlying_data_percent": 100 * summary.outliers,
        "data_flagged_percent": 100 * (n_after - n_before) / max(sum(one.n_data for one in counts) - n_before, 1),
    }


def merge_parts(parts: Sequence[Any]) -> tuple[Any, ...]:
    """Return the results of several tasks as one."""
    return tuple(parts)


def _drop_graph(context: Context, cycle: SelfCalibrationCycle, target: ImageTarget, loser: _State) -> Delayed:
    """Return the graph that deletes the data of a trial that is not the best one any more."""
    urls = [context.locate(path) for group in loser.groups.values() for path in (group.visibility, group.flag)]
    return run_task(context, drop_trial, urls, name=f"drop-{target.name}-cycle{cycle.number}")


def _numbers(state: _State) -> dict[str, float]:
    """Return the numbers of an image: its dynamic range, and what it is made of."""
    return {
        "signal_to_noise": state.quality.snr,
        "peak_jy": state.quality.peak_jy,
        "noise_jy": state.quality.noise_jy,
        "rms_jy": state.image.statistics.rms,
    }


def _finish(results: Sequence[_Result], old: Sequence[CalibrationTable]) -> Outcome:
    """Join the fields: new data, tables and images of those that got better; ``old`` are tables of a step before."""
    better = [one for one in results if one.best is not one.first]
    records = [
        table.record(one.target.field, one.reference_antenna)
        for one in better
        for table in (*one.best.phases, *one.best.amplitudes)
    ]
    return Outcome(
        status=OutcomeStatus.SUCCESS if better else OutcomeStatus.NOTHING,
        message="; ".join(map(_describe, results)),
        groups={name: {GROUP: group} for one in better for name, group in one.best.groups.items()},
        tables=tuple(records),
        removed_tables=tuple(table.name for table in old if any(one.target.field in table.solved_on for one in better)),
        applied=tuple(record.name for record in records),
        images=tuple(image for one in better for image in _name_images(one)),
        qa=tuple(score for one in results for score in _scores(one)),
        summary={
            one.target.name: {"before": _numbers(one.first), "after": _numbers(one.best), "cycles": list(one.cycles)}
            for one in results
        },
    )


def _name_images(result: _Result) -> tuple[ImageRecord, ImageRecord]:
    """Return the images before and after, with these words in their names in place of the numbers of cycles."""

    def renamed(state: _State, word: str) -> ImageRecord:
        name = state.image.name.removeprefix(f"{result.target.name}-cycle{state.number}")
        return state.image.model_copy(update={"name": f"{result.target.name}-{word}{name}"})

    return renamed(result.first, "before"), renamed(result.best, "after")


def _describe(result: _Result) -> str:
    """Return what became of a field, in words."""
    field, before = result.target.name, result.first.quality.snr
    tried = [row for row in result.cycles if "signal_to_noise" in row]
    if result.best is not result.first:
        kept = ", ".join(row["cycle"] for row in result.cycles if row["kept"])
        return f"{field}: signal-to-noise ratio {before:.4g} -> {result.best.quality.snr:.4g} by {kept}"
    if tried:
        best = max(row["signal_to_noise"] for row in tried)
        return (
            f"{field}: no improvement, the data stay as they are (signal-to-noise ratio {before:.4g}, in the best "
            f"trial {best:.4g})"
        )
    expected = max((row["expected_solution_snr"] for row in result.cycles), default=0.0)
    return (
        f"{field}: too faint for self-calibration, the data stay as they are (signal-to-noise ratio {before:.4g}; "
        f"that of the best solutions would be {expected:.2g})"
    )


def _scores(result: _Result) -> tuple[QAScore, ...]:
    """Judge what the gains that are kept cost, and what they bring."""
    where: dict[str, Any] = {"applies_to": result.target.field, "scope": ScoreScope.FIELD}
    before = result.first.quality.snr
    rise = score_between(
        "signal-to-noise ratio after self-calibration over before",
        result.best.quality.snr / before if before else 1.0,
        unit="",
        good=1.0,
        bad=0.5,
        hint="look at the cycles in the summary of the step",
        **where,
    )
    if result.best is result.first:
        return (rise,)
    flagged = score_between(
        "flagged self-calibration solutions",
        result.best.flagged_percent,
        unit="%",
        good=10.0,
        bad=60.0,
        hint="use longer intervals, or combine_windows",
        **where,
    )
    return rise, flagged
