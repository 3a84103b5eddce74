"""Judge solutions: their signal-to-noise, and what gains scatter by in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from radps.context.records import QAScore, ScoreScope
from radps.context.scores import score_between
from radps.node_tasks.calibration import SolveSummary


def median_snr(summary: SolveSummary) -> float:
    """Return the median signal-to-noise of the channels or times that have data; 0 if none has."""
    found = [snr for snr, has_data in zip(summary.snr, summary.has_data, strict=True) if has_data]
    return float(np.median(found)) if found else 0.0


def flagged_percent(summary: SolveSummary) -> float:
    """Return the flagged part of the solutions that there were data for [%]; all of it where there were none."""
    possible = summary.n_solutions - summary.n_without_data
    return 100 * (summary.n_flagged - summary.n_without_data) / possible if possible else 100.0


def score_snr(window: str, kind: str, snr: float) -> QAScore:
    """Score the median signal-to-noise of the solutions of a kind: 20 is an error of 3 degrees, 5 one of 11."""
    return score_between(
        f"signal-to-noise of {kind} solutions",
        snr,
        unit="",
        good=20.0,
        bad=5.0,
        applies_to=window,
        scope=ScoreScope.WINDOW,
        hint="average channels (`bandpass: {average: auto}`), take longer intervals, or combine the spectral windows",
    )


def score_outliers(window: str, kind: str, outliers: float) -> QAScore:
    """Score the part of the data that a robust solution found far off."""
    return score_between(
        f"data far off the {kind} solutions",
        100 * outliers,
        unit="%",
        good=2.0,
        bad=20.0,
        applies_to=window,
        scope=ScoreScope.WINDOW,
        hint="interference or a bad baseline was not flagged: OUTLIERS of the table says when and in which channels",
    )


def score_misfit(window: str, misfit: float) -> QAScore:
    """Score by how much an averaged, smoothed or fitted bandpass differs from single channels beyond their noise."""
    return score_between(
        "misfit of the bandpass",
        100 * misfit,
        unit="%",
        good=2.0,
        bad=20.0,
        applies_to=window,
        scope=ScoreScope.WINDOW,
        hint="a higher degree of the polynomials, fewer channels together, delays first, or flag the edges of the band",
    )


def score_scatter(window: str, scatter: Mapping[str, Any]) -> list[QAScore]:
    """Score what gains scatter by: the median of the antennas, with the name of the worst; none of a single solution.

    Parameters
    ----------
    window : str
        Spectral window.
    scatter : mapping
        ``amplitude_rms`` (relative), ``phase_step_deg``, and both for each antenna under ``by_antenna``; None is not
        known.
    """
    judged = (
        ("scatter of gain amplitudes", "amplitude_rms", 100.0, "%", 10.0, 50.0),
        ("change of gain phases from one solution to the next", "phase_step_deg", 1.0, "deg", 30.0, 90.0),
    )
    scores = []
    for name, key, factor, unit, good, bad in judged:
        if scatter[key] is None:
            continue
        known = {antenna: one[key] for antenna, one in scatter["by_antenna"].items() if one[key] is not None}
        worst = max(known, key=known.__getitem__)
        scores.append(
            score_between(
                name,
                factor * scatter[key],
                unit=unit,
                good=good,
                bad=bad,
                applies_to=window,
                scope=ScoreScope.WINDOW,
                hint=f"the largest is that of {worst}, {factor * known[worst]:.3g} {unit}; shorter solution intervals, "
                "or self-calibration where the target is bright",
            )
        )
    return scores
