"""Judge the quality of the calibrated data, of the images, and of the run as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, Partition, PlannedImage, QAScore
from radps.graph_tasks.shapes import map_chunks, run_task
from radps.node_tasks.assessment import ImageQuality, measure_image_quality
from radps.node_tasks.visibility_quality import VisibilityQuality
from radps.stages._image_scores import find_planned, score_image, summarise_image_quality
from radps.stages._visibility_scores import find_calibrators, quality_graph, score_visibilities, summarise_visibilities
from radps.stages.base import StageParams


class Params(StageParams):
    """Parameters of the stage `assess`."""

    low_score: float = 0.5
    """Scores below this are listed in the message."""


class _Judged(NamedTuple):
    """What was known before the measurements."""

    calibrators: tuple[Partition, ...]
    images: tuple[ImageRecord, ...]
    planned: tuple[PlannedImage, ...]
    earlier: tuple[QAScore, ...]
    low_score: float


def assess(context: Context, params: Params) -> Delayed:
    """Score calibrated data of calibrators and the images; list what scored low in the run so far.

    Calibrators are compared with their models: closure errors, phases against the length of the baselines. Images are
    judged by how CLEAN ended, their residuals, and noise and beam against the list of images to make. The stages before
    score what they alone know: flags, solutions, flux densities.
    """
    images = tuple(image for image in context.images if image.convergence is not None)
    urls = [context.locate(image.convergence) for image in images if image.convergence is not None]
    calibrators = find_calibrators(context)
    judged = _Judged(
        calibrators=calibrators,
        images=images,
        planned=context.imaging.planned,
        earlier=tuple(score for scores in context.qa.values() for score in scores),
        low_score=params.low_score,
    )
    data = [quality_graph(context, partition) for partition in calibrators]
    return run_task(context, _finish, data, map_chunks(context, measure_image_quality, urls), judged)


def _finish(data: Sequence[VisibilityQuality], images: Sequence[ImageQuality], judged: _Judged) -> Outcome:
    """Score what was measured, and say which scores of the run are low."""
    scores: list[QAScore] = []
    of_data, of_images = {}, {}
    for partition, quality in zip(judged.calibrators, data, strict=True):
        scores += score_visibilities(partition, quality)
        of_data[partition.name] = summarise_visibilities(quality)
    for image, measured in zip(judged.images, images, strict=True):
        planned = find_planned(judged.planned, image)
        scores += score_image(image, measured, planned)
        of_images[image.name] = summarise_image_quality(image, measured, planned)
    every = [*judged.earlier, *scores]
    if not every:
        return Outcome(status=OutcomeStatus.NOTHING, message="there is nothing to judge yet")
    low = [f"{score.applies_to}: {score.message}" for score in every if score.score < judged.low_score]
    lowest = min(score.score for score in every)
    return Outcome(
        status=OutcomeStatus.CAVEATS if low else OutcomeStatus.SUCCESS,
        message="; ".join(low) or f"{len(every)} scores, the lowest is {lowest:.2f}",
        qa=tuple(scores),
        summary={"scores": len(every), "low": len(low), "lowest": lowest, "visibilities": of_data, "images": of_images},
    )
