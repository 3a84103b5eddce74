"""Solve for delays, bandpass and complex gains of the antennas, and transfer the flux-density scale."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from dask.delayed import Delayed
from pydantic import Field

from radps.context.fields import INTENT_WORDS
from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import Partition, SpectralWindow
from radps.context.selection import ChannelRange
from radps.context.sky import to_field_model
from radps.data import solutions
from radps.data.solutions import SolutionDescription
from radps.domain.delays import DelayOptions
from radps.domain.polarization import parallel_hands
from radps.domain.stefcal import GainMode, GainOptions, Robustness
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.applying import AppliedTable
from radps.node_tasks.bandpass import find_averaging, finish_bandpass, solve_group_block
from radps.node_tasks.blocks import Block
from radps.node_tasks.calibration import (
    ScanData,
    count_antenna_flags,
    merge_antenna_flags,
    merge_solve_summaries,
    rank_antennas,
    rank_solved_antennas,
    save_merged_gains,
    save_phase_up,
    solve_bandpass_channels,
    solve_scan_gains,
)
from radps.node_tasks.delays import merge_delays, solve_scan_delays
from radps.node_tasks.solving import ScanPart
from radps.stages._calibration import (
    COPIES,
    CalibratorScan,
    antenna_index,
    bandpass_partition,
    calibrator_scans,
    check_baselines,
    inner_channels,
    share_out,
    sky_model,
)
from radps.stages._calibration_outcome import WindowPlan, finish_phases, finish_window, join_outcomes
from radps.stages._calibration_params import Bandpass, Delays, Interval, Phases, PhaseUp
from radps.stages.base import StageParams
from radps.stages.set_model import ASSUMED


class Params(StageParams):
    """Parameters of the stage `calibrate`."""

    writes = ("flux_densities", "tables")

    windows: tuple[str, ...] = ()
    """Spectral windows to solve; all by default. The others need the tables of one of these (`apply_calibration`:
    `window_map`)."""
    delays: Delays | None = None
    """Delays, solved first; none by default, when the bandpass holds those that do not change."""
    bandpass_calibrator: str = "bandpass"
    """Field that the bandpass is solved on; without a field of that intent, the flux calibrator."""
    bandpass: Bandpass = Bandpass()
    """How the bandpass is solved; by default each channel by itself."""
    phases: Phases | None = None
    """Phases on a short interval, so that the gains after them are means over scans without loss; none by default."""
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
    robust: Robustness = Robustness.NONE
    """What becomes of visibilities that are far off a solution of delays, bandpass, phases or gains: "none" counts them
    as all others, "huber" the less the farther they are off, "reject" leaves those out that are off by more than five
    times the noise (CASA `solmode`, "R" and "L1R")."""
    outlier_sigma: float = Field(default=0.0, ge=0.0)
    """Gains whose amplitude is off the median of its antenna, hand and field by more than this many standard deviations
    are flagged; 0 flags none. Five solutions and more are judged."""
    spectral_order: int = Field(default=1, ge=1, le=3)
    """Order of the polynomial log S over log frequency through the flux densities that a calibrator has in several
    spectral windows (CASA `fluxscale`, `fitorder`)."""

    def gain_options(self, mode: GainMode, min_snr: float | None = None) -> GainOptions:
        """Return what is asked of a gain solution."""
        snr = self.min_snr if min_snr is None else min_snr
        return GainOptions(mode, self.min_baselines, snr, robust=self.robust)

    @property
    def is_plain(self) -> bool:
        """True where solutions take every datum as it is, and so read it once."""
        return self.robust is Robustness.NONE


class _Window(NamedTuple):
    """A spectral window whose delays and bandpass are on their way."""

    context: Context
    plan: WindowPlan
    scans: list[CalibratorScan]
    applied: tuple[AppliedTable, ...]
    """What gains are solved after."""
    order: Delayed
    """Antennas, the reference first."""
    bandpass: Delayed
    delays: Delayed | None


def calibrate(context: Context, params: Params) -> Delayed:
    """Solve delays, bandpass and gains of every window; the gains of calibrators of unknown flux density give it.

    1. If asked: a delay an antenna, hand and scan.
    2. One bandpass: a solution a channel over all times (map over chunks of channels), after the delays, and if asked
       after phases of short intervals on the same field.
    3. If asked: phases of short intervals on every calibrator, by window or of all windows together.
    4. Gains a scan on every calibrator, from the inner channels, after all these (map over scans).
    5. The gains of calibrators of unknown flux density against those of known flux density (CASA `fluxscale`).

    Tables are registered as pending; `apply_calibration` applies them. Channels, scans and antennas without a solution
    are flagged and listed in the summary; a calibrator without any is reported, and does not stop the others.
    """
    observation = context.require_observation()
    check_baselines(context, params.min_baselines)
    known = [window.name for window in observation.windows]
    if unknown := [name for name in params.windows if name not in known]:
        raise SelectionError(f"there is no spectral window {', '.join(unknown)}; there are: {', '.join(known)}")
    wanted = [window for window in observation.windows if not params.windows or window.name in params.windows]
    windows = [_start_window(context, params, window, wanted) for window in wanted]
    groups = [windows] if params.phases and params.phases.combine_windows else [[one] for one in windows]
    ends: list[Delayed] = []
    for group in groups:
        phases = _solve_phases(params, params.phases, group) if params.phases else None
        ends += [_finish_window(params, window, phases) for window in group]
        if phases:
            ends.append(phases.outcome)
    stale = tuple(one.name for one in context.calibration.tables if one.kind in ("delay", "phase"))
    return run_task(context, join_outcomes, ends, params.spectral_order, stale)


def _start_window(
    context: Context, params: Params, window: SpectralWindow, windows: Sequence[SpectralWindow]
) -> _Window:
    """Return the graphs of the delays and the bandpass of a window."""
    is_shared = params.phases is not None and params.phases.combine_windows
    context = context.for_part(*_window_inputs(context, windows if is_shared else [window]))
    partition = bandpass_partition(context, params.bandpass_calibrator, window)
    scans = calibrator_scans(
        context, params.gain_calibrators, window, inner_channels(params.gain_channels, window), together=params.is_plain
    )
    plan = _plan_window(context, params, window, partition, scans)
    preferred = antenna_index(context, params.reference_antenna)
    blocks = plan_blocks(context, [partition], group="base", whole="time", copies=COPIES)
    counts = reduce_tree(
        context,
        merge_antenna_flags,
        map_chunks(context, count_antenna_flags, blocks, len(plan.antennas), name=f"count_flags-{window.name}"),
        name=f"merge_flags-{window.name}",
    )
    positions = tuple(antenna.position_m for antenna in context.require_observation().antennas)
    ranked = run_task(context, rank_antennas, counts, positions, preferred, name=f"rank_antennas-{window.name}")
    applied: tuple[AppliedTable, ...] = ()
    delays = None
    if params.delays:
        delays = _solve_delays(context, params, params.delays, plan, window, ranked)
        applied = (AppliedTable(context.locate(plan.delay_path), plan.delay_fields, kind="delay"),)
    bandpass = _solve_bandpass(context, params, plan, window, partition, blocks, ranked, applied, delays)
    applied = (*applied, AppliedTable(context.locate(plan.bandpass_path), (partition.field,), kind="bandpass"))
    order = run_task(context, rank_solved_antennas, ranked, bandpass, preferred, name=f"rank_solved-{window.name}")
    return _Window(context, plan, scans, applied, order, bandpass, delays)


def _finish_window(params: Params, window: _Window, phases: _Phases | None) -> Delayed:
    """Return the graph of the gains of a window; it computes to an Outcome."""
    context, plan = window.context, window.plan
    spectral_window = context.window(plan.window)
    scans = [
        _to_scan_data(
            context, scan, (*window.applied, *(phases.applied(scan.field, spectral_window) if phases else ()))
        )
        for scan in window.scans
    ]
    parts = [
        run_task(
            context,
            solve_scan_gains,
            scans[share],
            len(plan.antennas),
            window.order,
            params.gain_options(params.mode),
            params.solution_interval,
            name=f"solve_gains-{plan.window}-{number:04d}",
            after=[window.bandpass, *([phases.outcome] if phases else [])],
        )
        for number, share in enumerate(share_out(context, [scan.read_with for scan in window.scans]))
    ]
    name = f"transfer_flux-{plan.window}"
    found = (plan, window.bandpass, parts, window.order, window.delays)
    return run_task(context, finish_window, *found, params.outlier_sigma, name=name)


def _to_scan_data(context: Context, scan: CalibratorScan, applied: tuple[AppliedTable, ...]) -> ScanData:
    """Return a scan of one window with its model and what is divided out of it."""
    model = to_field_model(context, sky_model(context, scan.field))
    return ScanData(scan.field, scan.scan, (ScanPart(scan.pieces, applied, model),))


def _window_inputs(context: Context, windows: Sequence[SpectralWindow]) -> tuple[object, ...]:
    """Return all that the solutions of spectral windows depend on."""
    observation = context.require_observation()
    window_names = {window.name for window in windows}
    partitions = tuple(one for one in observation.partitions if one.window in window_names)
    names = {partition.field for partition in partitions}
    fields = tuple(field for field in observation.fields if field.name in names)
    models = tuple(model for model in context.sky_models if model.field in names)
    return tuple(windows), partitions, fields, models, observation.antennas


def _plan_window(
    context: Context, params: Params, window: SpectralWindow, bandpass: Partition, scans: Sequence[CalibratorScan]
) -> WindowPlan:
    """Sort the fields of a window by what is known of them, and name its tables."""
    observation = context.require_observation()
    calibrators = tuple(dict.fromkeys(scan.field for scan in scans))
    known = tuple(field for field in calibrators if sky_model(context, field).origin != ASSUMED)
    phase = tuple(
        field.name
        for field in observation.fields
        if field.name in calibrators and any(intent.startswith(INTENT_WORDS["phase"]) for intent in field.intents)
    )
    assumed = tuple(field for field in calibrators if field not in known)
    observed = dict.fromkeys(one.field for one in observation.partitions if one.window == window.name)
    gain_path = _table_path(context, window.name, "gain")
    return WindowPlan(
        window=window.name,
        flux_fields=known,
        assumed_fields=assumed,
        target_sources=phase or assumed or known,
        other_fields=tuple(field for field in observed if field not in calibrators),
        gain_url=context.locate(gain_path),
        gain_path=gain_path,
        bandpass_path=_table_path(context, window.name, "bandpass"),
        bandpass_field=bandpass.field,
        delay_path=_table_path(context, window.name, "delay") if params.delays else "",
        delay_fields=_delay_fields(context, params.delays, window, bandpass) if params.delays else (),
        antennas=tuple(antenna.name for antenna in observation.antennas),
        looks_for_outliers=params.robust is not Robustness.NONE,
        has_amplitudes=params.mode is not GainMode.PHASE,
        polarizations=tuple(bandpass.polarizations[hand] for hand in parallel_hands(bandpass.polarizations)),
    )


def _table_path(context: Context, window: str, kind: str) -> str:
    return context.new_path("context.zarr", f"{window}/{kind}", suffix="")


def _delay_fields(context: Context, delays: Delays, window: SpectralWindow, bandpass: Partition) -> tuple[str, ...]:
    """Return the fields that delays are solved on."""
    if not delays.calibrators:
        return (bandpass.field,)
    found = context.visibilities(delays.calibrators)
    return tuple(dict.fromkeys(one.field for one in found if one.window == window.name))


def _solve_delays(
    context: Context, params: Params, delays: Delays, plan: WindowPlan, window: SpectralWindow, order: Delayed
) -> Delayed:
    """Return the graph of the delays of a window; it computes to their DelaySummary."""
    options = DelayOptions(min_baselines=params.min_baselines, min_snr=delays.min_snr, robust=params.robust)
    scans = calibrator_scans(context, plan.delay_fields, window, inner_channels(delays.channels, window))
    parts = [
        run_task(
            context,
            solve_scan_delays,
            ScanPart(scan.pieces, (), to_field_model(context, sky_model(context, scan.field))),
            scan.field,
            scan.scan,
            len(plan.antennas),
            order,
            options,
            delays.solution_interval,
            name=f"solve_delays-{window.name}-{number:04d}",
        )
        for number, scan in enumerate(scans)
    ]
    description = SolutionDescription("delay", plan.window, plan.antennas, plan.polarizations)
    url = context.locate(plan.delay_path)
    return run_task(context, merge_delays, parts, url, description, order, name=f"save_delays-{window.name}")


def _solve_bandpass(
    context: Context,
    params: Params,
    plan: WindowPlan,
    window: SpectralWindow,
    partition: Partition,
    blocks: Sequence[Block],
    order: Delayed,
    applied: tuple[AppliedTable, ...],
    after: Delayed | None,
) -> Delayed:
    """Return the graph of a bandpass; it computes to its SolveSummary."""
    rules = params.bandpass
    url = context.locate(plan.bandpass_path if rules.is_plain else _table_path(context, window.name, "channels"))
    waits = [] if after is None else [after]
    if params.bandpass.phase_up:
        phase_url = context.locate(_table_path(context, window.name, "phase_up"))
        waits.append(_solve_phase_up(context, params, plan, window, order, applied, phase_url, waits))
        applied = (*applied, AppliedTable(phase_url, (partition.field,), kind="phase"))
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
    solved = (
        to_field_model(context, sky_model(context, partition.field)),
        len(plan.antennas),
        order,
        params.gain_options(GainMode.AMPLITUDE_PHASE),
    )
    waits = [table, *waits]
    if rules.average in (1, "auto"):
        name = f"solve_bandpass-{plan.window}"
        parts = map_chunks(context, solve_bandpass_channels, blocks, *solved, url, applied, name=name, after=waits)
        waits = [reduce_tree(context, merge_solve_summaries, parts, name=f"merge_bandpass-{plan.window}")]
        if rules.is_plain:
            return waits[0]
    n_average: object = rules.average
    if n_average == "auto":
        name = f"find_averaging-{plan.window}"
        n_average = run_task(context, find_averaging, url, rules.target_snr, name=name, after=waits)
    groups = (
        []
        if rules.average == 1
        else map_chunks(
            context,
            solve_group_block,
            blocks,
            n_average,
            window.n_channels,
            *solved,
            applied,
            name=f"solve_groups-{plan.window}",
            after=waits,
        )
    )
    return run_task(
        context,
        finish_bandpass,
        url,
        groups,
        context.locate(plan.bandpass_path),
        rules.rule,
        name=f"finish_bandpass-{plan.window}",
        after=waits,
    )


def _solve_phase_up(
    context: Context,
    params: Params,
    plan: WindowPlan,
    window: SpectralWindow,
    order: Delayed,
    applied: tuple[AppliedTable, ...],
    url: str,
    after: Sequence[Delayed],
) -> Delayed:
    """Return the graph of the phases of the bandpass calibrator; it computes to their SolveSummary."""
    phase_up = params.bandpass.phase_up or PhaseUp()
    channels = inner_channels(params.gain_channels, window)
    found = calibrator_scans(context, (plan.bandpass_field,), window, channels, together=params.is_plain)
    scans = [_to_scan_data(context, scan, applied) for scan in found]
    parts = [
        run_task(
            context,
            solve_scan_gains,
            scans[share],
            len(plan.antennas),
            order,
            params.gain_options(GainMode.PHASE, phase_up.min_snr),
            phase_up.solution_interval,
            name=f"solve_phase_up-{window.name}-{number:04d}",
            after=after,
        )
        for number, share in enumerate(share_out(context, [scan.read_with for scan in found]))
    ]
    description = SolutionDescription("phase", plan.window, plan.antennas, plan.polarizations)
    return run_task(context, save_phase_up, parts, url, description, order, name=f"save_phase_up-{window.name}")


class _Phases(NamedTuple):
    """The phases of short intervals of one or more windows."""

    url: str
    outcome: Delayed
    scale_with_frequency: bool

    def applied(self, field: str, window: SpectralWindow) -> tuple[AppliedTable, ...]:
        """Return what the gains of a calibrator are solved after in a window."""
        frequency_hz = window.middle_hz if self.scale_with_frequency else None
        return (AppliedTable(self.url, (field,), kind="phase", phase_frequency_hz=frequency_hz),)


def _solve_phases(params: Params, phases: Phases, windows: Sequence[_Window]) -> _Phases:
    """Return the graph of the phases of windows, solved together; it computes to an Outcome."""
    first = windows[0]
    context, plan, name = first.context, first.plan, "_".join(window.plan.window for window in windows)
    together: dict[tuple[str, str, str], list[ScanPart]] = {}
    read_with: dict[tuple[str, str, str], tuple[Hashable, ...]] = {}
    for window in windows:
        for scan in window.scans:
            part = ScanPart(scan.pieces, window.applied, to_field_model(context, sky_model(context, scan.field)))
            key = (scan.dataset, scan.field, scan.scan)
            together.setdefault(key, []).append(part)
            read_with[key] = (*read_with.get(key, ()), scan.read_with)
    scans = [ScanData(field, scan, tuple(parts)) for (_, field, scan), parts in together.items()]
    description = SolutionDescription("phase", plan.window, plan.antennas, plan.polarizations)
    paths, saved = [], []
    for kind, interval in (("phase", phases.solution_interval), ("phase_scan", "scan")):
        parts = [
            run_task(
                context,
                solve_scan_gains,
                scans[share],
                len(plan.antennas),
                first.order,
                params.gain_options(GainMode.PHASE, phases.min_snr),
                interval,
                name=f"solve_{kind}-{name}-{number:04d}",
                after=[window.bandpass for window in windows],
            )
            for number, share in enumerate(share_out(context, list(read_with.values())))
        ]
        paths.append(_table_path(context, plan.window, kind))
        url = context.locate(paths[-1])
        saved.append(
            run_task(context, save_merged_gains, parts, url, description, first.order, name=f"save_{kind}-{name}")
        )
    plans = [window.plan for window in windows]
    is_scaled = phases.scale_with_frequency
    outcome = run_task(
        context, finish_phases, plans, saved, paths, first.order, is_scaled, name=f"finish_phases-{name}"
    )
    return _Phases(context.locate(paths[0]), outcome, is_scaled)
