"""What calibration found: the tables to register, flux densities, scores, numbers and what a user has to know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from radps.context.records import (
    Applicability,
    CalibrationTable,
    FluxDensityRecord,
    Outcome,
    OutcomeStatus,
    QAScore,
    ScoreScope,
)
from radps.context.scores import score_between
from radps.data import solutions
from radps.data.solutions import Solution, SolutionDescription
from radps.domain.flux_spectrum import FluxSpectrum, fit_flux_spectrum
from radps.domain.flux_transfer import FluxTransfer, flag_gains, rescale_gains, transfer_flux
from radps.domain.solution_statistics import flag_outlying_gains, measure_scatter
from radps.errors import DataError
from radps.node_tasks.calibration import MergedGains, ScanGains, SolveSummary, merge_scan_gains, summarise_gains
from radps.node_tasks.delays import DelaySummary
from radps.stages._solution_scores import (
    flagged_percent,
    median_snr,
    score_misfit,
    score_outliers,
    score_scatter,
    score_snr,
)


class WindowPlan(NamedTuple):
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
    delay_path: str
    """Empty if no delays are solved."""
    delay_fields: tuple[str, ...]
    antennas: tuple[str, ...]
    polarizations: tuple[str, ...]
    looks_for_outliers: bool = False
    """True = the solutions are robust, and count the data that are far off."""
    has_amplitudes: bool = True
    """False = gains are phases alone: they say nothing of flux densities."""


class _Transfer(NamedTuple):
    """The gains on the flux-density scale of the calibrators that are known."""

    gains: MergedGains
    fluxes: tuple[FluxDensityRecord, ...]
    problems: tuple[str, ...]
    """Calibrators whose flux density was not found, and why."""


def finish_window(
    plan: WindowPlan,
    bandpass: SolveSummary,
    parts: Sequence[Sequence[ScanGains]],
    order: Sequence[int],
    delays: DelaySummary | None,
    outlier_sigma: float = 0.0,
) -> Outcome:
    """Transfer the flux scale, write the gains, and say what was found in one window; 0 sigma = keep outliers."""
    merged = merge_scan_gains(parts, order)
    n_outliers = 0
    if outlier_sigma:
        table, n_outliers = flag_outlying_gains(merged.table, merged.fields, outlier_sigma)
        merged = merged._replace(table=table)
    solved = summarise_gains(merged.table, "time")
    transfer = _transfer_fluxes(plan, merged)
    gains = transfer.gains
    description = SolutionDescription("gain", plan.window, plan.antennas, plan.polarizations)
    solutions.save_solution(plan.gain_url, Solution(description, gains.table, gains.fields, gains.scans))
    reference = next((antenna for antenna in order if solved.antenna_solutions[antenna]), order[0])
    problems = [*_problems(plan, bandpass, solved, gains, delays), *transfer.problems]
    scatter = _scatter(plan, gains)
    return Outcome(
        status=OutcomeStatus.CAVEATS if problems else OutcomeStatus.SUCCESS,
        message="; ".join(problems),
        tables=_tables(plan, plan.antennas[reference]),
        flux_densities=transfer.fluxes,
        qa=(
            *_scores(plan, bandpass, summarise_gains(gains.table, "time"), transfer.fluxes),
            *([] if delays is None else [score_snr(plan.window, "delay", delays.median_snr)]),
            *_score_outliers(plan, bandpass, solved, delays),
            score_snr(plan.window, "bandpass", median_snr(bandpass)),
            *([] if bandpass.misfit is None else [score_misfit(plan.window, bandpass.misfit)]),
            score_snr(plan.window, "gain", median_snr(solved)),
            *score_scatter(plan.window, scatter),
        ),
        summary={
            plan.window: {
                "reference_antenna": plan.antennas[reference],
                "antennas_without_solution": _unsolved_antennas(plan, solved),
                **({} if delays is None else {"delays": _delay_counts(plan, delays)}),
                "bandpass": _counts(bandpass),
                "gains": {**_counts(solved), "outliers": n_outliers, **scatter},
                "channels_without_data": [number for number, has_data in enumerate(bandpass.has_data) if not has_data],
                "channels_without_solution": _unsolved_channels(bandpass),
                "scans_without_solution": _unsolved_scans(solved, gains),
                "flux_densities": {flux.field: flux.flux_jy for flux in transfer.fluxes},
            }
        },
    )


def finish_phases(
    plans: Sequence[WindowPlan],
    summaries: Sequence[SolveSummary],
    paths: Sequence[str],
    order: Sequence[int],
    scales_with_frequency: bool,
) -> Outcome:
    """Register the phases of one or more windows: those of short intervals for calibrators, of scans for the rest."""
    plan, windows = plans[0], tuple(one.window for one in plans)
    calibrators = (*plan.flux_fields, *plan.assumed_fields)
    own = tuple(Applicability(fields=(field,), windows=windows, from_fields=(field,)) for field in calibrators)
    others = tuple(
        Applicability(fields=one.other_fields, windows=(one.window,), from_fields=one.target_sources)
        for one in plans
        if one.other_fields
    )
    name = "_".join(windows)
    tables = [
        CalibrationTable(
            name=f"{kind}_{name}",
            kind="phase",
            path=path,
            window=plan.window,
            solved_on=calibrators,
            applies_to=applies_to,
            reference_antenna=plan.antennas[order[0]],
            scales_with_frequency=scales_with_frequency,
        )
        for kind, path, applies_to in zip(("phase", "phase_scan"), paths, (own, others), strict=True)
        if applies_to
    ]
    flagged = [
        score_between(
            "flagged phase solutions",
            flagged_percent(summaries[0]),
            unit="%",
            good=10.0,
            bad=60.0,
            applies_to=window,
            scope=ScoreScope.WINDOW,
            hint="take a longer interval, or combine the spectral windows",
        )
        for window in windows
    ]
    snr = tuple(score_snr(window, "phase", median_snr(summaries[0])) for window in windows)
    if plan.looks_for_outliers:
        snr = (*snr, *(score_outliers(window, "phase", summaries[0].outliers) for window in windows))
    counts = {"phases": _counts(summaries[0]), "phases_of_scans": _counts(summaries[1])}
    return Outcome(tables=tuple(tables), qa=(*flagged, *snr), summary={window: counts for window in windows})


def _transfer_fluxes(plan: WindowPlan, gains: MergedGains) -> _Transfer:
    """Put the gains of calibrators solved with 1 Jy on the scale of those that are known."""
    table = gains.table
    reference = np.isin(gains.fields, plan.flux_fields)
    fluxes, problems = [], []
    if plan.assumed_fields and not plan.flux_fields:
        problems.append(
            f"no calibrator of window {plan.window} has a known flux density: its gains are relative to 1 Jy of "
            f"{', '.join(plan.assumed_fields)}"
        )
    for field in plan.assumed_fields if plan.flux_fields and plan.has_amplitudes else ():
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


def _tables(plan: WindowPlan, reference_antenna: str) -> tuple[CalibrationTable, ...]:
    """Register the tables of a window, with what they apply to."""
    calibrators = (*plan.flux_fields, *plan.assumed_fields)
    window = (plan.window,)
    everything = (*calibrators, *plan.other_fields)
    delay = CalibrationTable(
        name=f"delay_{plan.window}",
        kind="delay",
        path=plan.delay_path,
        window=plan.window,
        solved_on=plan.delay_fields,
        applies_to=(Applicability(fields=everything, windows=window, from_fields=plan.delay_fields),),
        reference_antenna=reference_antenna,
    )
    bandpass = CalibrationTable(
        name=f"bandpass_{plan.window}",
        kind="bandpass",
        path=plan.bandpass_path,
        window=plan.window,
        solved_on=(plan.bandpass_field,),
        applies_to=(Applicability(fields=everything, windows=window, from_fields=(plan.bandpass_field,)),),
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
    return (*([delay] if plan.delay_path else []), bandpass, gain)


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


def _problems(
    plan: WindowPlan, bandpass: SolveSummary, solved: SolveSummary, gains: MergedGains, delays: DelaySummary | None
) -> list[str]:
    """Return what a user has to know of the solutions of a window."""
    problems = []
    if delays is not None and delays.n_flagged == delays.n_solutions:
        problems.append(f"window {plan.window} has no delay that rises above the noise: all its data will be flagged")
    if n_failed := bandpass.n_not_converged + solved.n_not_converged:
        problems.append(f"{n_failed} solutions of window {plan.window} did not converge and are flagged")
    if channels := _unsolved_channels(bandpass):
        problems.append(f"channels of {plan.window} whose bandpass is lost in noise: {', '.join(map(str, channels))}")
    elif not any(bandpass.has_data):
        problems.append(f"{plan.bandpass_field} has no data for a bandpass of {plan.window}: all are flagged")
    if scans := _unsolved_scans(solved, gains):
        problems.append(f"scans without a gain solution in {plan.window}: {', '.join(scans)}")
    return problems


def _unsolved_antennas(plan: WindowPlan, solved: SolveSummary) -> list[str]:
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
    plan: WindowPlan, bandpass: SolveSummary, solved: SolveSummary, fluxes: Sequence[FluxDensityRecord]
) -> tuple[QAScore, ...]:
    """Judge how much of the solutions is flagged, and how well the flux densities are known."""
    flagged = [
        score_between(
            f"flagged {kind} solutions",
            flagged_percent(summary),
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
                100 * flux.error_jy / flux.flux_jy if flux.n_solutions != 1 else 100.0,
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


def _score_outliers(
    plan: WindowPlan, bandpass: SolveSummary, solved: SolveSummary, delays: DelaySummary | None
) -> list[QAScore]:
    """Judge how much of the data was far off each kind of robust solutions; nothing where nobody looked."""
    found = {"delay": delays, "bandpass": bandpass, "gain": solved}
    return [
        score_outliers(plan.window, kind, one.outliers)
        for kind, one in found.items()
        if plan.looks_for_outliers and one is not None
    ]


def _counts(summary: SolveSummary) -> dict[str, float]:
    """Return the counts of a solution as plain JSON."""
    return {
        "solutions": summary.n_solutions,
        "without_data": summary.n_without_data,
        "flagged": summary.n_flagged,
        "not_converged": summary.n_not_converged,
        "median_snr": float(np.median(summary.snr)) if summary.snr else 0.0,
        "outlying_data_percent": 100 * summary.outliers,
    }


def _scatter(plan: WindowPlan, gains: MergedGains) -> dict[str, Any]:
    """Return the scatter of gains as plain JSON: the median over antennas, and each antenna; None is not known."""
    scatter = measure_scatter(gains.table, gains.fields)
    columns = {
        "snr": scatter.snr,
        "amplitude_rms": scatter.amplitude_rms,
        "phase_rms_deg": np.degrees(scatter.phase_rms_rad),
        "phase_step_deg": np.degrees(scatter.phase_step_rad),
    }
    medians = {
        name: float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else None
        for name, values in columns.items()
        if name != "snr"
    }
    by_antenna = {
        antenna: {name: _finite(float(values[number])) for name, values in columns.items()}
        for number, antenna in enumerate(plan.antennas)
    }
    return {**medians, "by_antenna": by_antenna}


def _delay_counts(plan: WindowPlan, delays: DelaySummary) -> dict[str, Any]:
    """Return the counts of delays as plain JSON."""
    solved = zip(plan.antennas, delays.antenna_solutions, strict=True)
    return {
        "solutions": delays.n_solutions,
        "flagged": delays.n_flagged,
        "median_snr": delays.median_snr,
        "largest_ns": 1e9 * delays.largest_delay_s,
        "median_error_ns": 1e9 * delays.median_error_s,
        "outlying_data_percent": 100 * delays.outliers,
        "antennas_without_solution": [name for name, count in solved if not count],
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


def _error_text(error: float | None, digits: int) -> str:
    """Return an error as a part of a text; 0, or none, is one that nobody knows, as that of a single ratio."""
    return f"+- {error:.{digits}f}" if error else "(error unknown)"


def _describe_tables(tables: Sequence[CalibrationTable]) -> str:
    """Return what was solved, in words."""
    kinds, windows, references = (
        ", ".join(dict.fromkeys(words))
        for words in zip(*((table.kind, table.window, table.reference_antenna) for table in tables), strict=True)
    )
    return f"{kinds} of {windows}; reference antenna {references}"


def join_outcomes(outcomes: Iterable[Outcome], order: int, stale: tuple[str, ...]) -> Outcome:
    """Join the outcomes of the spectral windows; tables of a calibration before that are not made now are taken out."""
    outcomes = tuple(outcomes)
    fluxes = tuple(flux for one in outcomes for flux in one.flux_densities)
    several = len({flux.window for flux in fluxes}) > 1
    texts = [
        f"{flux.field}{f' in {flux.window}' if several else ''}: {flux.flux_jy:.4f} {_error_text(flux.error_jy, 4)} Jy"
        for flux in fluxes
    ]
    spectra = _fit_spectra(fluxes, order)
    texts += [
        f"{field}: spectral index {one['terms'][0]:.3f} {_error_text(one['term_errors'][0], 3)}"
        for field, one in spectra.items()
    ]
    tables = tuple(table for one in outcomes for table in one.tables)
    summary: dict[str, Any] = {}
    for one in outcomes:
        for name, value in one.summary.items():
            summary[name] = {**summary.get(name, {}), **value}
    caveats = any(one.status is OutcomeStatus.CAVEATS for one in outcomes)
    return Outcome(
        status=OutcomeStatus.CAVEATS if caveats else OutcomeStatus.SUCCESS,
        message="; ".join([*texts, *(one.message for one in outcomes if one.message)]) or _describe_tables(tables),
        tables=tables,
        removed_tables=tuple(name for name in stale if name not in {table.name for table in tables}),
        flux_densities=fluxes,
        qa=tuple(score for one in outcomes for score in one.qa),
        summary={**summary, **({"spectra": spectra} if spectra else {})},
    )
