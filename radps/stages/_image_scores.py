"""Judge images: how CLEAN ended, what the residual looks like, noise and beam against what was to be expected."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from radps.context.records import ImageRecord, PlannedImage, QAScore, ScoreScope
from radps.context.scores import score_between
from radps.node_tasks.assessment import ImageQuality


def score_image(
    image: ImageRecord,
    quality: ImageQuality,
    planned: PlannedImage | None = None,
    expected_noise_jy: float | None = None,
) -> list[QAScore]:
    """Return the scores of one image; with its entry in the list of images to make, and against the expected noise."""
    where: dict[str, Any] = {"applies_to": image.name, "scope": ScoreScope.IMAGE}
    if quality.n_channels == 0:
        return [
            score_between("channels with data", 0.0, unit="", good=1.0, bad=0.0, hint="look at the flags", **where),
        ]
    return [
        score_between(
            "converged channels",
            100 * quality.n_converged / quality.n_channels,
            unit="%",
            good=100.0,
            bad=0.0,
            hint="raise max_iterations or max_cycles, or the threshold",
            **where,
        ),
        *_score_residual(quality, where),
        _score_beam(image, where),
        *_score_expectations(image, planned, expected_noise_jy, where),
    ]


def summarise_image_quality(
    image: ImageRecord, quality: ImageQuality, expected_noise_jy: float | None
) -> dict[str, float | None]:
    """Return the numbers of an image as plain JSON; None where they have no meaning."""
    noise_jy = image.noise_jy
    return {
        "noise_jy": noise_jy,
        "expected_noise_jy": expected_noise_jy,
        "dynamic_range": image.statistics.max / noise_jy if noise_jy > 0 else None,
        "deepest_negative_over_noise": quality.deepest_negative,
        "largest_residual_over_noise": quality.worst_residual,
        "residual_rms_over_noise": quality.residual_excess,
    }


def find_planned(entries: Iterable[PlannedImage], image: ImageRecord) -> PlannedImage | None:
    """Return the entry in the list of images to make that an image comes from."""
    return next((entry for entry in entries if entry.name == image.planned), None)


def _score_residual(quality: ImageQuality, where: dict[str, Any]) -> list[QAScore]:
    """Score what CLEAN left, and how the noise goes over the channels."""
    return [
        score_between(
            "largest residual over noise",
            quality.worst_residual,
            unit="",
            good=6.0,
            bad=30.0,
            hint="look at the residual there: sidelobes, interference, calibration, a source outside of the mask",
            **where,
        ),
        score_between(
            "residual rms over noise",
            quality.residual_excess,
            unit="",
            good=1.2,
            bad=3.0,
            hint="emission is left in the residual, or sidelobes of something that was not CLEANed",
            **where,
        ),
        score_between(
            "deepest negative over noise",
            quality.deepest_negative,
            unit="",
            good=6.0,
            bad=30.0,
            hint="errors of the calibration around a bright source, or extended emission without short baselines",
            **where,
        ),
        score_between(
            "largest noise of a channel over the median",
            quality.worst_noise,
            unit="",
            good=1.5,
            bad=10.0,
            hint="look at the flags of that channel",
            **where,
        ),
    ]


def _score_beam(image: ImageRecord, where: dict[str, Any]) -> QAScore:
    """Score the shape of the beam, or that there is none."""
    if image.beam is None:
        return score_between("fitted beam", 0.0, unit="", good=1.0, bad=0.0, hint="give a smaller cell_size", **where)
    return score_between(
        "axis ratio of the beam",
        image.beam.major_rad / image.beam.minor_rad,
        unit="",
        good=2.0,
        bad=10.0,
        hint="a short or low observation, or too few baselines",
        **where,
    )


def _score_expectations(
    image: ImageRecord, planned: PlannedImage | None, expected_noise_jy: float | None, where: dict[str, Any]
) -> list[QAScore]:
    """Score the noise against the thermal noise, and the beam against what the list of images to make expects."""
    scores = []
    if expected_noise_jy is not None:
        scores.append(
            score_between(
                "noise over the expected thermal noise",
                image.noise_jy / expected_noise_jy,
                unit="",
                good=2.0,
                bad=10.0,
                hint="weights, restoring beam and the assumed sefd change it; else dynamic range or interference",
                **where,
            )
        )
    if planned is not None and image.beam is not None:
        scores.append(
            score_between(
                "beam over the expected beam",
                math.sqrt(image.beam.major_rad * image.beam.minor_rad) / planned.beam_rad,
                unit="",
                good=2.5,
                bad=10.0,
                hint="long baselines are flagged, or weighted down: look at the flags by antenna",
                **where,
            )
        )
    return scores
