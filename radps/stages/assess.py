"""Judge the quality of the calibrated data, of the images, and of the run as a whole."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, Partition, PlannedImage, QAScore
from radps.graph_tasks.shapes import map_chunks, run_task
from radps.node_tasks.assessment import ChannelCounts, ImageQuality, measure_image_quality
from radps.node_tasks.visibility_quality import VisibilityQuality
from radps.stages._expected_noise import DataKey, NoiseOfPart, count_graphs, describe_noise, expect_noise
from radps.stages._image_scores import find_planned, score_image, summarise_image_quality
from radps.stages._visibility_scores import find_calibrators, quality_graph, score_visibilities, summarise_visibilities
from radps.stages.base import StageParams
from radps.units import FluxDensity


class Params(StageParams):
    """Parameters of the stage `assess`."""

    low_score: float = 0.5
    """Scores below this are listed in the message."""
    sefd: Annotated[FluxDensity, Field(gt=0.0)] | None = None
    """Noise of an antenna as a flux density, for the noise to expect of the images; by default that of the list of
    images to make, else the nominal one of the telescope, if it is known."""


class _Judged(NamedTuple):
    """What was known before the measurements."""

    calibrators: tuple[Partition, ...]
    images: tuple[ImageRecord, ...]
    planned: tuple[PlannedImage, ...]
    earlier: tuple[QAScore, ...]
    low_score: float
    noise: tuple[tuple[NoiseOfPart, ...], ...]
    """Of each image, what its noise depends on; empty = not known, or the list of images to make says it."""


def assess(context: Context, params: Params) -> Delayed:
    """Score calibrated data of calibrators and the images; list what scored low in the run so far.

    Calibrators are compared with their models: closure errors, phases against the length of the baselines. Images are
    judged by how CLEAN ended, their residuals, their noise against the thermal noise of the visibilities that are
    left, and their beam against the list of images to make. The stages before score what they alone know: flags,
    solutions, flux densities.
    """
    images = tuple(image for image in context.images if image.convergence is not None)
    urls = [context.locate(image.convergence) for image in images if image.convergence is not None]
    calibrators = find_calibrators(context)
    noise = tuple(_describe_noise(context, params, image) for image in images)
    counts = count_graphs(context, itertools.chain.from_iterable(noise))
    judged = _Judged(
        calibrators=calibrators,
        images=images,
        planned=context.imaging.planned,
        earlier=tuple(score for scores in context.qa.values() for score in scores),
        low_score=params.low_score,
        noise=noise,
    )
    data = [quality_graph(context, partition) for partition in calibrators]
    measured = map_chunks(context, measure_image_quality, urls)
    return run_task(context, _finish, data, measured, list(counts.values()), tuple(counts), judged)


def _describe_noise(context: Context, params: Params, image: ImageRecord) -> tuple[NoiseOfPart, ...]:
    """Return what the noise of an image depends on, unless the list of images to make has said what to expect."""
    planned = find_planned(context.imaging.planned, image)
    is_expected = planned is not None and planned.noise_jy is not None and params.sefd is None
    return () if is_expected else describe_noise(context, image, params.sefd)


def _finish(
    data: Sequence[VisibilityQuality],
    images: Sequence[ImageQuality],
    counts: Sequence[ChannelCounts],
    counted: tuple[DataKey, ...],
    judged: _Judged,
) -> Outcome:
    """Score what was measured, and say which scores of the run are low."""
    numbers = dict(zip(counted, counts, strict=True))
    scores: list[QAScore] = []
    of_data, of_images = {}, {}
    for partition, quality in zip(judged.calibrators, data, strict=True):
        scores += score_visibilities(partition, quality)
        of_data[partition.name] = summarise_visibilities(quality)
    for image, measured, noise in zip(judged.images, images, judged.noise, strict=True):
        planned = find_planned(judged.planned, image)
        expected_jy = expect_noise(image, noise, numbers) or (planned.noise_jy if planned else None)
        scores += score_image(image, measured, planned, expected_jy)
        of_images[image.name] = summarise_image_quality(image, measured, expected_jy)
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
