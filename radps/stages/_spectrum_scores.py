"""Judge spectra: their noise, what is blank, what is left beside the line, and how far the line rises."""

from __future__ import annotations

import math
from typing import Any

from radps.context.records import ImageRecord, PlannedImage, QAScore, ScoreScope
from radps.context.scores import score_between
from radps.domain.spectra import LineFreeStatistics
from radps.node_tasks.spectra import SpectrumSummary


def score_spectrum(cube: ImageRecord, summary: SpectrumSummary, planned: PlannedImage | None) -> list[QAScore]:
    """Return the scores of the spectrum of a cube; with its entry in the list of images to make, of its noise too."""
    where: dict[str, Any] = {"applies_to": cube.name, "scope": ScoreScope.IMAGE}
    scores = [
        score_between(
            "blank channels of the spectrum",
            100 * summary.n_blank / cube.shape[0],
            unit="%",
            good=10.0,
            bad=60.0,
            hint="look at the flags of those channels, and whether the region lies in the image",
            **where,
        )
    ]
    if math.isfinite(summary.snr):
        scores.append(
            score_between(
                "peak of the spectrum over its error",
                summary.snr,
                unit="",
                good=7.0,
                bad=3.0,
                hint="no line rises above the noise: average channels, fit the region to the source, or there is none",
                **where,
            )
        )
    if planned is not None and planned.noise_jy is not None and math.isfinite(summary.noise_jy):
        scores.append(
            score_between(
                "noise of the spectrum over the expected thermal noise",
                summary.noise_jy / planned.noise_jy,
                unit="",
                good=2.0,
                bad=10.0,
                hint="flags, the weighting and the sefd that was assumed change it; else dynamic range or interference",
                **where,
            )
        )
    if math.isfinite(summary.line_free.scatter):
        scores += _score_line_free(summary.line_free, where)
    return scores


def _score_line_free(line_free: LineFreeStatistics, where: dict[str, Any]) -> list[QAScore]:
    """Score what is left beside the line."""
    return [
        score_between(
            "offset of line-free channels over the error of one",
            abs(line_free.offset),
            unit="",
            good=1.0,
            bad=3.0,
            hint="continuum is left (`subtract_continuum`), or a bowl: short baselines are missing, or a deeper CLEAN",
            **where,
        ),
        score_between(
            "scatter of line-free channels over their error",
            line_free.scatter,
            unit="",
            good=1.5,
            bad=4.0,
            hint="a ripple of the bandpass, sidelobes of other channels, or a line that was not told apart",
            **where,
        ),
    ]
