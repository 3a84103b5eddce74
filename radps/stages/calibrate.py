"""Solve for the bandpass and the complex gains of the antennas, and transfer the flux-density scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import (
    CalibrationTable,
    FluxDensityRecord,
    Outcome,
    OutcomeStatus,
    Partition,
    SkyModel,
    SpectralWindow,
)
from radps.context.selection import ChannelRange, channels_of
from radps.context.sky import to_components
from radps.data import solutions
from radps.data.solutions import Solution, SolutionDescription
from radps.domain.flux_transfer import FluxTransfer, rescale_gains, transfer_flux
from radps.domain.gains import GainOptions, GainTable
from radps.domain.stefcal import GainMode
from radps.errors import ModelError, SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.blocks import Block
from radps.node_tasks.calibration import (
    ScanGains,
    SolveSummary,
    merge_scan_gains,
    merge_solve_summaries,
    rank_antennas,
    solve_bandpass_channels,
    solve_scan_gains,
    summarise_gains,
)
from radps.stages.base import StageParams
from radps.stages.set_model import ASSUMED
from radps.units import Duration

LOOK_BYTES = 4.0
"""Memory of a solution task, in units of its visibilities: the data, the model, and the corrected copy."""


class Params(StageParams):
    """Parameters of the stage `calibrate`."""

    bandpass_calibrator: str = "bandpass"
    """Field that the bandpass is solved on; without a field of that intent, the flux calibrator."""
    gain_calibrators: tuple[str, ...] = ("flux", "phase")
    """Fields that gains are solved on."""
    gain_channels: ChannelRange | None = None
    """Channels that gains are averaged over, such as "6~56"; by default the inner 80 % of the band."""
    solution_interval: Literal["scan"] | Duration = "scan"
    """Length of a gain solution: a scan, or a time such as "60 s" within scans."""
    mode: GainMode = GainMode.AMPLITUDE_PHASE
    """Gains in amplitude and phase, or in phase alone."""
    reference_antenna: str = "auto"
    """Antenna whose phase is zero; "auto" takes one near the centre of the array with few flags."""
    min_snr: float = Field(default=3.0, ge=0.0)
    """Solutions with a lower signal-to-noise ratio are flagged (CASA `minsnr`)."""
    min_baselines: int = Field(default=4, ge=2)
    """Antennas with fewer baselines that have data are flagged (CASA `minblperant`)."""


class _Plan(NamedTuple):
    """What the last task needs to know of one spectral window."""

    window: str
    flux_fields: tuple[str, ...]
    """Fields with a known flux density."""
    assumed_fields: tuple[str, ...]
    """Fields solved with 1 Jy."""
    gain_url: str
    gain_path: str
    bandpass_path: str
    bandpass_field: str
    antennas: tuple[str, ...]
    polarizations: tuple[str, ...]
    targets: tuple[str, ...]


def calibrate(context: Context, params: Params) -> Delayed:
    """Solve bandpass and gains of every spectral window on its calibrators; gains of unknown calibrators give their flux.

    1. One bandpass: a solution a channel over all times (map over chunks of channels).
    2. Gains a scan on every calibrator, from the inner channels, with the bandpass applied (map over scans).
    3. The gains of calibrators of unknown flux density against those of known flux density (CASA `fluxscale`).

    Tables are registered as pending; `apply_calibration` applies them.
    """
    observation = context.require_observation()
    options = GainOptions(mode=params.mode, min_baselines=params.min_baselines, min_snr=params.min_snr)
    ends = [_solve_window(context, params, options, window) for window in observation.windows]
    return run_task(context, _finish, ends)


def _solve_window(context: Context, params: Params, options: GainOptions, window: SpectralWindow) -> Delayed:
    """Return the graph of one spectral window; it computes to an Outcome."""
    antennas = context.require_observation().antennas
    bandpass = _bandpass_partition(context, params, window)
    blocks = plan_blocks(context, [bandpass], group="base", whole="time", copies=LOOK_BYTES)
    order = run_task(
        context,
        rank_antennas,
        blocks,
        tuple(antenna.position_m for antenna in antennas),
        _antenna_index(context, params.reference_antenna),
        name=f"rank_antennas-{window.name}",
    )
    hands = tuple(name for name in bandpass.polarizations if name[0] == name[-1])
    bandpass_path = context.new_path("context.zarr", f"{window.name}/bandpass", suffix="")
    gain_path = context.new_path("context.zarr", f"{window.name}/gain", suffix="")
    description = SolutionDescription(
        kind="bandpass",
        window=window.name,
        antenna_names=tuple(antenna.name for antenna in antennas),
        polarizations=hands,
    )
    table = run_task(
        context,
        solutions.create_bandpass,
        context.locate(bandpass_path),
        description,
        context.address(bandpass, "base").store,
        bandpass.field,
        blocks[0].channels[1] - blocks[0].channels[0],
        name=f"create_bandpass-{window.name}",
    )
    parts = map_chunks(
        context,
        solve_bandpass_channels,
        blocks,
        to_components(_model(context, bandpass.field)),
        len(antennas),
        order,
        options,
        context.locate(bandpass_path),
        name=f"solve_bandpass-{window.name}",
        after=table,
    )
    solved = reduce_tree(context, merge_solve_summaries, parts, name=f"merge_bandpass-{window.name}")
    gains = _solve_gains(context, params, options, window, order, context.locate(bandpass_path), after=solved)
    fields = [partition.field for partition, _ in _gain_blocks(context, params, window)]
    known = tuple(dict.fromkeys(field for field in fields if _model(context, field).origin != ASSUMED))
    plan = _Plan(
        window=window.name,
        flux_fields=known,
        assumed_fields=tuple(dict.fromkeys(field for field in fields if field not in known)),
        gain_url=context.locate(gain_path),
        gain_path=gain_path,
        bandpass_path=bandpass_path,
        bandpass_field=bandpass.field,
        antennas=description.antenna_names,
        polarizations=hands,
        targets=tuple(field.name for field in context.require_observation().fields),
    )
    return run_task(context, _transfer_and_write, plan, solved, gains, order, name=f"transfer_flux-{window.name}")


def _solve_gains(
    context: Context,
    params: Params,
    options: GainOptions,
    window: SpectralWindow,
    order: Delayed,
    bandpass_url: str,
    after: Delayed,
) -> list[Delayed]:
    """Return a graph for each scan of each calibrator of a window."""
    graphs = []
    for partition, block in _gain_blocks(context, params, window):
        graphs.append(
            run_task(
                context,
                solve_scan_gains,
                block,
                partition.field,
                bandpass_url,
                to_components(_model(context, partition.field)),
                len(context.require_observation().antennas),
                order,
                options,
                None if params.solution_interval == "scan" else params.solution_interval,
                name=f"solve_gains-{window.name}-{len(graphs):04d}",
                after=after,
            )
        )
    return graphs


def _gain_blocks(context: Context, params: Params, window: SpectralWindow) -> list[tuple[Partition, Block]]:
    """Return one block for each scan of the gain calibrators: its times, the inner channels."""
    if params.gain_channels is None:
        edge = window.n_channels // 10
        start, stop = edge, window.n_channels - edge
    else:
        ((start, stop),) = channels_of([params.gain_channels], window)
    found = []
    for partition in context.visibilities(params.gain_calibrators):
        if partition.window == window.name:
            address = context.address(partition, "base")
            found += [
                (partition, Block(partition=partition.name, address=address, times=span, channels=(start, stop)))
                for span in partition.scans.values()
            ]
    if not found:
        raise SelectionError(
            f"no data of the gain calibrators {', '.join(params.gain_calibrators)} in spectral window {window.name}; "
            f"name fields that were observed in it"
        )
    return found


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


def _transfer_and_write(
    plan: _Plan, bandpass: SolveSummary, parts: Sequence[ScanGains], order: Sequence[int]
) -> Outcome:
    """Transfer the flux scale, write the gains, and say what was found in one window."""
    table, fields, scans = merge_scan_gains(parts)
    solved = summarise_gains(table)
    reference = np.isin(fields, plan.flux_fields)
    fluxes = []
    for field in plan.assumed_fields:
        if not reference.any():
            break
        transfer = np.isin(fields, [field])
        found = transfer_flux(table, transfer, reference, field_name=field)
        table = rescale_gains(table, transfer, found.scale)
        fluxes.append(_flux_record(field, found, table))
    description = SolutionDescription(
        kind="gain", window=plan.window, antenna_names=plan.antennas, polarizations=plan.polarizations
    )
    solutions.save_solution(plan.gain_url, Solution(description, table, fields, scans))
    reference_name = plan.antennas[order[0]]
    summary = {
        "reference_antenna": reference_name,
        "bandpass": _counts(bandpass),
        "gains": _counts(solved),
        "flux_densities": {flux.field: flux.flux_jy for flux in fluxes},
    }
    return Outcome(
        tables=_tables(plan, reference_name),
        flux_densities=tuple(fluxes),
        summary={plan.window: summary},
        status=OutcomeStatus.CAVEATS if bandpass.n_not_converged + solved.n_not_converged else OutcomeStatus.SUCCESS,
    )


def _tables(plan: _Plan, reference_antenna: str) -> tuple[CalibrationTable, CalibrationTable]:
    """Register the two tables of a window, with what they apply to."""
    calibrators = (*plan.flux_fields, *plan.assumed_fields)
    source = plan.assumed_fields or plan.flux_fields
    common = {"window": plan.window, "reference_antenna": reference_antenna}
    bandpass = CalibrationTable(
        name=f"bandpass_{plan.window}",
        kind="bandpass",
        path=plan.bandpass_path,
        solved_on=(plan.bandpass_field,),
        applies_to={field: (plan.bandpass_field,) for field in plan.targets},
        **common,
    )
    gain = CalibrationTable(
        name=f"gain_{plan.window}",
        kind="gain",
        path=plan.gain_path,
        solved_on=calibrators,
        applies_to={field: (field,) if field in calibrators else source for field in plan.targets},
        **common,
    )
    return bandpass, gain


def _flux_record(field: str, found: FluxTransfer, table: GainTable) -> FluxDensityRecord:
    return FluxDensityRecord(
        field=field,
        flux_jy=found.flux_jy,
        error_jy=found.error_jy,
        frequency_hz=float(table.frequency_hz[0]),
        origin="flux transfer",
        n_solutions=found.n_solutions,
    )


def _counts(summary: SolveSummary) -> dict[str, float]:
    """Return the counts of a solution as plain JSON."""
    return {
        "solutions": summary.n_solutions,
        "flagged": summary.n_flagged,
        "not_converged": summary.n_not_converged,
        "median_snr": float(np.median(summary.snr)) if summary.snr else 0.0,
    }


def _finish(outcomes: Iterable[Outcome]) -> Outcome:
    """Join the outcomes of the spectral windows."""
    outcomes = tuple(outcomes)
    fluxes = tuple(flux for one in outcomes for flux in one.flux_densities)
    texts = [f"{flux.field}: {flux.flux_jy:.4f} +- {flux.error_jy:.4f} Jy" for flux in fluxes]
    caveats = any(one.status is OutcomeStatus.CAVEATS for one in outcomes)
    return Outcome(
        status=OutcomeStatus.CAVEATS if caveats else OutcomeStatus.SUCCESS,
        message="; ".join(texts + (["some solutions did not converge and are flagged"] if caveats else [])),
        tables=tuple(table for one in outcomes for table in one.tables),
        flux_densities=fluxes,
        summary={name: value for one in outcomes for name, value in one.summary.items()},
    )
