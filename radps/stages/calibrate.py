"""Solve for the bandpass and the complex gains of the antennas, and transfer the flux-density scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from dask.delayed import Delayed
from pydantic import Field

from radps.context.fields import INTENT_WORDS
from radps.context.model import Context
from radps.context.planning import SUM_BLOCK_BYTES, VISIBILITY_BYTES, plan_blocks
from radps.context.records import (
    Applicability,
    CalibrationTable,
    FluxDensityRecord,
    Outcome,
    OutcomeStatus,
    Partition,
    QAScore,
    ScoreScope,
    SkyModel,
    SpectralWindow,
)
from radps.context.scores import score_between
from radps.context.selection import ChannelRange, channels_of
from radps.context.sky import to_field_model
from radps.data import solutions
from radps.data.solutions import Solution, SolutionDescription
from radps.domain.flux_spectrum import FluxSpectrum, fit_flux_spectrum
from radps.domain.flux_transfer import FluxTransfer, flag_gains, rescale_gains, transfer_flux
from radps.domain.gains import GainOptions
from radps.domain.polarization import parallel_hands
from radps.domain.stefcal import GainMode
from radps.errors import DataError, ModelError, SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.blocks import Block
from radps.node_tasks.calibration import (
    MergedGains,
    ScanGains,
    SolveSummary,
    count_antenna_flags,
    merge_antenna_flags,
    merge_scan_gains,
    merge_solve_summaries,
    rank_antennas,
    rank_solved_antennas,
    solve_bandpass_channels,
    solve_scan_gains,
    summarise_gains,
)
from radps.stages.base import StageParams
from radps.stages.set_model import ASSUMED
from radps.units import Duration

COPIES = 4.0
"""Memory of a solution task, in units of its visibilities: the data, the model, and the corrected copy."""

Interval = Literal["scan", "integration"] | Annotated[Duration, Field(gt=0.0)]
"""Length of a solution: a word, or a time."""


class Params(StageParams):
    """Parameters of the stage `calibrate`."""

    writes = ("flux_densities", "tables")

    bandpass_calibrator: str = "bandpass"
    """Field that the bandpass is solved on; without a field of that intent, the flux calibrator."""
    gain_calibrators: tuple[str, ...] = ("flux", "phase")
    """Fields that gains are solved on."""
    gain_channels: ChannelRange | None = None
    """Channels that gains are averaged over, such as "6~56"; by default the inner 80 % of the band."""
    solution_interval: Interval = "scan"
    """Length of a gain solution: a scan, an integration, or a time such as "60 s" within scans (CASA `solint`)."""
    mode: GainMode = GainMode.AMPLITUDE_PHASE
    """Gains in amplitude and phase, in phase alone, or in amplitude alone (CASA `calmode`)."""
    reference_antenna: str = "auto"
    """Antenna whose phase is zero; "auto" takes one near the centre of the array with few flags."""
    min_snr: float = Field(default=3.0, ge=0.0)
    """Solutions with a lower signal-to-noise ratio are flagged (CASA `minsnr`)."""
    min_baselines: int = Field(default=4, ge=2)
    """Antennas with fewer baselines that have data are flagged (CASA `minblperant`)."""
    spectral_order: int = Field(default=1, ge=1, le=3)
    """Order of the polynomial log S over log frequency through the flux densities that a calibrator has in several
    spectral windows (CASA `fluxscale`, `fitorder`)."""


class _Plan(NamedTuple):
    """What the last task needs to know of one spectral window."""

    window: str
    flux_fields: tuple[str, ...]
    """Calibrators with a known flux density."""
    assumed_fields: tuple[str, ...]
    """Calibrators solved with 1 Jy."""
    target_sources: tuple[str, ...]
    """Calibrators whose gains the other fields are corrected with."""
    other_fields: tuple[str, ...]
    """Fields of the window that no gains are solved on."""
    gain_url: str
    gain_path: str
    bandpass_path: str
    bandpass_field: str
    antennas: tuple[str, ...]
    polarizations: tuple[str, ...]


class _Transfer(NamedTuple):
    """The gains on the flux-density scale of the calibrators that are known."""

    gains: MergedGains
    fluxes: tuple[FluxDensityRecord, ...]
    problems: tuple[str, ...]
    """Calibrators whose flux density was not found, and why."""


class _ScanOfCalibrator(NamedTuple):
    """A scan of a gain calibrator, in pieces."""

    field: str
    scan: str
    pieces: tuple[Block, ...]


def calibrate(context: Context, params: Params) -> Delayed:
    """Solve bandpass and gains of every spectral window; the gains of calibrators of unknown flux density give it.

    1. One bandpass: a solution a channel over all times (map over chunks of channels).
    2. Gains a scan on every calibrator, from the inner channels, with the bandpass applied (map over scans).
    3. The gains of calibrators of unknown flux density against those of known flux density (CASA `fluxscale`).

    Tables are registered as pending; `apply_calibration` applies them. Channels, scans and antennas without a solution
    are flagged and listed in the summary; a calibrator without any is reported, and does not stop the others.
    """
    observation = context.require_observation()
    options = GainOptions(mode=params.mode, min_baselines=params.min_baselines, min_snr=params.min_snr)
    ends = [_solve_window(context, params, options, window) for window in observation.windows]
    return run_task(context, _finish, ends, params.spectral_order)


def _solve_window(context: Context, params: Params, options: GainOptions, window: SpectralWindow) -> Delayed:
    """Return the graph of one spectral window; it computes to an Outcome."""
    context = context.for_part(*_window_inputs(context, window))
    partition = _bandpass_partition(context, params, window)
    scans = _calibrator_scans(context, params, window)
    plan = _plan_window(context, window, partition, scans)
    preferred = _antenna_index(context, params.reference_antenna)
    blocks = plan_blocks(context, [partition], group="base", whole="time", copies=COPIES)
    counts = reduce_tree(
        context,
        merge_antenna_flags,
        map_chunks(context, count_antenna_flags, blocks, len(plan.antennas), name=f"count_flags-{window.name}"),
        name=f"merge_flags-{window.name}",
    )
    positions = tuple(antenna.position_m for antenna in context.require_observation().antennas)
    ranked = run_task(context, rank_antennas, counts, positions, preferred, name=f"rank_antennas-{window.name}")
    bandpass = _solve_bandpass(context, options, plan, partition, blocks, ranked)
    order = run_task(context, rank_solved_antennas, ranked, bandpass, preferred, name=f"rank_solved-{window.name}")
    gains = _solve_gains(context, params, options, plan, scans, order, after=bandpass)
    return run_task(context, _finish_window, plan, bandpass, gains, order, name=f"transfer_flux-{window.name}")


def _window_inputs(context: Context, window: SpectralWindow) -> tuple[object, ...]:
    """Return all that the solutions of a spectral window depend on."""
    observation = context.require_observation()
    partitions = tuple(one for one in observation.partitions if one.window == window.name)
    names = {partition.field for partition in partitions}
    fields = tuple(field for field in observation.fields if field.name in names)
    models = tuple(model for model in context.sky_models if model.field in names)
    return window, partitions, fields, models, observation.antennas


def _plan_window(
    context: Context, window: SpectralWindow, bandpass: Partition, scans: Sequence[_ScanOfCalibrator]
) -> _Plan:
    """Sort the fields of a window by what is known of them, and name its tables."""
    observation = context.require_observation()
    calibrators = tuple(dict.fromkeys(scan.field for scan in scans))
    known = tuple(field for field in calibrators if _model(context, field).origin != ASSUMED)
    phase = tuple(
        field.name
        for field in observation.fields
        if field.name in calibrators and any(intent.startswith(INTENT_WORDS["phase"]) for intent in field.intents)
    )
    assumed = tuple(field for field in calibrators if field not in known)
    observed = dict.fromkeys(one.field for one in observation.partitions if one.window == window.name)
    gain_path = context.new_path("context.zarr", f"{window.name}/gain", suffix="")
    return _Plan(
        window=window.name,
        flux_fields=known,
        assumed_fields=assumed,
        target_sources=phase or assumed or known,
        other_fields=tuple(field for field in observed if field not in calibrators),
        gain_url=context.locate(gain_path),
        gain_path=gain_path,
        bandpass_path=context.new_path("context.zarr", f"{window.name}/bandpass", suffix=""),
        bandpass_field=bandpass.field,
        antennas=tuple(antenna.name for antenna in observation.antennas),
        polarizations=tuple(bandpass.polarizations[hand] for hand in parallel_hands(bandpass.polarizations)),
    )


def _solve_bandpass(
    context: Context, options: GainOptions, plan: _Plan, partition: Partition, blocks: Sequence[Block], order: Delayed
) -> Delayed:
    """Return the graph of a bandpass; it computes to its SolveSummary."""
    url = context.locate(plan.bandpass_path)
    table = run_task(
        context,
        solutions.create_bandpass,
        url,
        SolutionDescription("bandpass", plan.window, plan.antennas, plan.polarizations),
        context.address(partition, "base").store,
        partition.field,
        partition.chunks[1],
        name=f"create_bandpass-{plan.window}",
    )
    parts = map_chunks(
        context,
        solve_bandpass_channels,
        blocks,
        to_field_model(context, _model(context, partition.field)),
        len(plan.antennas),
        order,
        options,
        url,
        name=f"solve_bandpass-{plan.window}",
        after=table,
    )
    return reduce_tree(context, merge_solve_summaries, parts, name=f"merge_bandpass-{plan.window}")


def _solve_gains(
    context: Context,
    params: Params,
    options: GainOptions,
    plan: _Plan,
    scans: Sequence[_ScanOfCalibrator],
    order: Delayed,
    after: Delayed,
) -> list[Delayed]:
    """Return a graph for each scan of each calibrator of a window; they compute to their ScanGains."""
    return [
        run_task(
            context,
            solve_scan_gains,
            scan.pieces,
            scan.field,
            scan.scan,
            context.locate(plan.bandpass_path),
            to_field_model(context, _model(context, scan.field)),
            len(plan.antennas),
            order,
            options,
            params.solution_interval,
            name=f"solve_gains-{plan.window}-{number:04d}",
            after=after,
        )
        for number, scan in enumerate(scans)
    ]


def _calibrator_scans(context: Context, params: Params, window: SpectralWindow) -> list[_ScanOfCalibrator]:
    """Return the scans of the gain calibrators: their times, the inner channels."""
    if params.gain_channels is None:
        edge = window.n_channels // 10
        channels = (edge, window.n_channels - edge)
    else:
        (channels,) = channels_of([params.gain_channels], window)
    found = [
        _ScanOfCalibrator(partition.field, scan, _pieces(context, partition, span, channels))
        for partition in context.visibilities(params.gain_calibrators)
        if partition.window == window.name
        for scan, span in partition.scans.items()
    ]
    if not found:
        raise SelectionError(
            f"no data of the gain calibrators {', '.join(params.gain_calibrators)} in spectral window {window.name}; "
            f"name fields that were observed in it"
        )
    return found


def _pieces(
    context: Context, partition: Partition, times: tuple[int, int], channels: tuple[int, int]
) -> tuple[Block, ...]:
    """Cut a scan into pieces of a fixed size; they are summed, so that the cut may not depend on the cluster."""
    _, n_baselines, _, n_polarizations = partition.shape
    cells = max(1, int(SUM_BLOCK_BYTES / (COPIES * n_baselines * n_polarizations * VISIBILITY_BYTES)))
    n_times = min(times[1] - times[0], cells)
    # Whole zarr chunks of channels where they fit, so that none is read twice.
    align = partition.chunks[1]
    n_channels = max(1, cells // n_times)
    n_channels = n_channels // align * align or n_channels
    starts = [channels[0], *range((channels[0] // n_channels + 1) * n_channels, channels[1], n_channels)]
    bands = list(pairwise([*starts, channels[1]]))
    return tuple(
        Block(
            partition=partition.name,
            address=context.address(partition, "base"),
            times=(first, min(first + n_times, times[1])),
            channels=band,
        )
        for first in range(times[0], times[1], n_times)
        for band in bands
    )


def _bandpass_partition(context: Context, params: Params, window: SpectralWindow) -> Partition:
    """Return the data that the bandpass of a window is solved on."""
    words = (params.bandpass_calibrator, *(["flux"] if params.bandpass_calibrator == "bandpass" else []))
    partitions: tuple[Partition, ...] = ()
    for number, word in enumerate(words, 1):
        try:
            partitions = tuple(one for one in context.visibilities(word) if one.window == window.name)
        except SelectionError:
            if number == len(words):
                raise
        if partitions:
            break
    if len(partitions) != 1:
        found = ", ".join(partition.field for partition in partitions) or "none"
        raise SelectionError(
            f"the bandpass of spectral window {window.name} needs one field, found {found}; "
            f"name one by bandpass_calibrator"
        )
    return partitions[0]


def _antenna_index(context: Context, name: str) -> int | None:
    """Return the index of the antenna that the user wants as reference; None leaves the choice to the data."""
    names = [antenna.name for antenna in context.require_observation().antennas]
    if name == "auto":
        return None
    if name not in names:
        raise SelectionError(f"reference antenna {name!r} is not in the array; antennas: {', '.join(names)}, or 'auto'")
    return names.index(name)


def _model(context: Context, field: str) -> SkyModel:
    """Return the model of a calibrator."""
    for model in context.sky_models:
        if model.field == field:
            return model
    known = ", ".join(model.field for model in context.sky_models) or "none"
    raise ModelError(
        f"calibrator {field!r} has no model (models: {known}); put the step `set_model` before this one and name the "
        f"field in flux_calibrators, other_calibrators or models"
    )


def _finish_window(plan: _Plan, bandpass: SolveSummary, parts: Sequence[ScanGains], order: Sequence[int]) -> Outcome:
    """Transfer the flux scale, write the gains, and say what was found in one window."""
    merged = merge_scan_gains(parts, order)
    solved = summarise_gains(merged.table, "time")
    transfer = _transfer_fluxes(plan, merged)
    gains = transfer.gains
    description = SolutionDescription("gain", plan.window, plan.antennas, plan.polarizations)
    solutions.save_solution(plan.gain_url, Solution(description, gains.table, gains.fields, gains.scans))
    reference = next((antenna for antenna in order if solved.antenna_solutions[antenna]), order[0])
    problems = [*_problems(plan, bandpass, solved, gains), *transfer.problems]
    return Outcome(
        status=OutcomeStatus.CAVEATS if problems else OutcomeStatus.SUCCESS,
        message="; ".join(problems),
        tables=_tables(plan, plan.antennas[reference]),
        flux_densities=transfer.fluxes,
        qa=_scores(plan, bandpass, summarise_gains(gains.table, "time"), transfer.fluxes),
        summary={
            plan.window: {
                "reference_antenna": plan.antennas[reference],
                "antennas_without_solution": _unsolved_antennas(plan, solved),
                "bandpass": _counts(bandpass),
                "gains": _counts(solved),
                "channels_without_data": [number for number, has_data in enumerate(bandpass.has_data) if not has_data],
                "channels_without_solution": _unsolved_channels(bandpass),
                "scans_without_solution": _unsolved_scans(solved, gains),
                "flux_densities": {flux.field: flux.flux_jy for flux in transfer.fluxes},
            }
        },
    )


def _transfer_fluxes(plan: _Plan, gains: MergedGains) -> _Transfer:
    """Put the gains of calibrators solved with 1 Jy on the scale of those that are known."""
    table = gains.table
    reference = np.isin(gains.fields, plan.flux_fields)
    fluxes, problems = [], []
    if plan.assumed_fields and not plan.flux_fields:
        problems.append(
            f"no calibrator of window {plan.window} has a known flux density: its gains are relative to 1 Jy of "
            f"{', '.join(plan.assumed_fields)}"
        )
    for field in plan.assumed_fields if plan.flux_fields else ():
        chosen = np.isin(gains.fields, [field])
        try:
            found = transfer_flux(table, chosen, reference, field_name=field)
        except DataError as error:
            problems.append(f"{error}; its gains are flagged, because their scale is that of a model of 1 Jy")
            table = flag_gains(table, chosen)
            continue
        table = rescale_gains(table, chosen, found.scale)
        fluxes.append(_flux_record(plan.window, field, found, float(table.frequency_hz[0])))
    return _Transfer(gains._replace(table=table), tuple(fluxes), tuple(problems))


def _tables(plan: _Plan, reference_antenna: str) -> tuple[CalibrationTable, CalibrationTable]:
    """Register the two tables of a window, with what they apply to."""
    calibrators = (*plan.flux_fields, *plan.assumed_fields)
    window = (plan.window,)
    bandpass = CalibrationTable(
        name=f"bandpass_{plan.window}",
        kind="bandpass",
        path=plan.bandpass_path,
        window=plan.window,
        solved_on=(plan.bandpass_field,),
        applies_to=(
            Applicability(
                fields=(*calibrators, *plan.other_fields), windows=window, from_fields=(plan.bandpass_field,)
            ),
        ),
        reference_antenna=reference_antenna,
    )
    others = Applicability(fields=plan.other_fields, windows=window, from_fields=plan.target_sources)
    gain = CalibrationTable(
        name=f"gain_{plan.window}",
        kind="gain",
        path=plan.gain_path,
        window=plan.window,
        solved_on=calibrators,
        applies_to=(
            *(Applicability(fields=(field,), windows=window, from_fields=(field,)) for field in calibrators),
            *([others] if plan.other_fields else []),
        ),
        reference_antenna=reference_antenna,
    )
    return bandpass, gain


def _flux_record(window: str, field: str, found: FluxTransfer, frequency_hz: float) -> FluxDensityRecord:
    return FluxDensityRecord(
        field=field,
        window=window,
        flux_jy=found.flux_jy,
        error_jy=found.error_jy if math.isfinite(found.error_jy) else 0.0,
        frequency_hz=frequency_hz,
        origin="flux transfer",
        n_solutions=found.n_solutions,
    )


def _problems(plan: _Plan, bandpass: SolveSummary, solved: SolveSummary, gains: MergedGains) -> list[str]:
    """Return what a user has to know of the solutions of a window."""
    problems = []
    if n_failed := bandpass.n_not_converged + solved.n_not_converged:
        problems.append(f"{n_failed} solutions of window {plan.window} did not converge and are flagged")
    if channels := _unsolved_channels(bandpass):
        problems.append(f"channels of {plan.window} whose bandpass is lost in noise: {', '.join(map(str, channels))}")
    elif not any(bandpass.has_data):
        problems.append(f"{plan.bandpass_field} has no data for a bandpass of {plan.window}: all are flagged")
    if scans := _unsolved_scans(solved, gains):
        problems.append(f"scans without a gain solution in {plan.window}: {', '.join(scans)}")
    return problems


def _unsolved_antennas(plan: _Plan, solved: SolveSummary) -> list[str]:
    """Return the antennas all whose gains are flagged."""
    return [name for name, count in zip(plan.antennas, solved.antenna_solutions, strict=True) if not count]


def _unsolved_channels(bandpass: SolveSummary) -> list[int]:
    """Return the channels that have data and no solution."""
    labels = zip(bandpass.snr, bandpass.has_data, strict=True)
    return [number for number, (snr, has_data) in enumerate(labels) if has_data and snr == 0]


def _unsolved_scans(solved: SolveSummary, gains: MergedGains) -> list[str]:
    """Return the scans, with their fields, that have an interval without any solution."""
    labels = zip(solved.snr, gains.fields, gains.scans, strict=True)
    return list(dict.fromkeys(f"{scan} ({field})" for snr, field, scan in labels if snr == 0))


def _scores(
    plan: _Plan, bandpass: SolveSummary, solved: SolveSummary, fluxes: Sequence[FluxDensityRecord]
) -> tuple[QAScore, ...]:
    """Judge how much of the solutions is flagged, and how well the flux densities are known."""
    flagged = [
        score_between(
            f"flagged {kind} solutions",
            _flagged_percent(summary),
            unit="%",
            good=10.0,
            bad=60.0,
            applies_to=plan.window,
            scope=ScoreScope.WINDOW,
            hint="look at the signal-to-noise of the solutions, and for antennas that are broken",
        )
        for kind, summary in (("bandpass", bandpass), ("gain", solved))
    ]
    return (
        *flagged,
        *(
            score_between(
                "error of the transferred flux density",
                100 * flux.error_jy / flux.flux_jy,
                unit="%",
                good=1.0,
                bad=10.0,
                applies_to=flux.field,
                scope=ScoreScope.FIELD,
                hint="compare the gain amplitudes of the calibrators antenna by antenna",
            )
            for flux in fluxes
        ),
    )


def _flagged_percent(summary: SolveSummary) -> float:
    """Return the flagged part of the solutions that there were data for [%]; all of it where there were none."""
    possible = summary.n_solutions - summary.n_without_data
    return 100 * (summary.n_flagged - summary.n_without_data) / possible if possible else 100.0


def _counts(summary: SolveSummary) -> dict[str, float]:
    """Return the counts of a solution as plain JSON."""
    return {
        "solutions": summary.n_solutions,
        "without_data": summary.n_without_data,
        "flagged": summary.n_flagged,
        "not_converged": summary.n_not_converged,
        "median_snr": float(np.median(summary.snr)) if summary.snr else 0.0,
    }


def _fit_spectra(fluxes: Sequence[FluxDensityRecord], order: int) -> dict[str, dict[str, Any]]:
    """Fit the spectra of the fields with flux densities in several windows; returns them as plain JSON."""
    by_field: dict[str, list[FluxDensityRecord]] = {}
    for flux in fluxes:
        by_field.setdefault(flux.field, []).append(flux)
    spectra = {
        field: fit_flux_spectrum(
            [one.frequency_hz for one in found],
            [one.flux_jy for one in found],
            [one.error_jy for one in found],
            order=order,
        )
        for field, found in by_field.items()
        if len({one.frequency_hz for one in found}) == len(found) > 1
    }
    return {field: _to_json(spectrum) for field, spectrum in spectra.items()}


def _to_json(spectrum: FluxSpectrum) -> dict[str, Any]:
    """Return a spectrum as plain JSON; None is what nothing tells."""
    return {
        "reference_frequency_hz": spectrum.reference_frequency_hz,
        "flux_jy": spectrum.flux_jy,
        "flux_error_jy": _finite(spectrum.flux_error_jy),
        "terms": list(spectrum.terms),
        "term_errors": [_finite(error) for error in spectrum.term_errors],
        "reduced_chi_squared": _finite(spectrum.reduced_chi_squared),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _finish(outcomes: Iterable[Outcome], order: int) -> Outcome:
    """Join the outcomes of the spectral windows."""
    outcomes = tuple(outcomes)
    fluxes = tuple(flux for one in outcomes for flux in one.flux_densities)
    several = len(outcomes) > 1
    texts = [
        f"{flux.field}{f' in {flux.window}' if several else ''}: {flux.flux_jy:.4f} +- {flux.error_jy:.4f} Jy"
        for flux in fluxes
    ]
    spectra = _fit_spectra(fluxes, order)
    texts += [
        f"{field}: spectral index {one['terms'][0]:.3f} +- {one['term_errors'][0] or 0:.3f}"
        for field, one in spectra.items()
    ]
    caveats = any(one.status is OutcomeStatus.CAVEATS for one in outcomes)
    return Outcome(
        status=OutcomeStatus.CAVEATS if caveats else OutcomeStatus.SUCCESS,
        message="; ".join([*texts, *(one.message for one in outcomes if one.message)]),
        tables=tuple(table for one in outcomes for table in one.tables),
        flux_densities=fluxes,
        qa=tuple(score for one in outcomes for score in one.qa),
        summary={
            **{name: value for one in outcomes for name, value in one.summary.items()},
            **({"spectra": spectra} if spectra else {}),
        },
    )
