"""Judge the quality of the images and of the run as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, QAScore, ScoreScope
from radps.context.scores import score_between
from radps.graph_tasks.shapes import map_chunks, run_task
from radps.node_tasks.assessment import ImageQuality, measure_image_quality
from radps.stages.base import StageParams


class Params(StageParams):
    """Parameters of the stage `assess`."""

    low_score: float = 0.5
    """Scores below this are listed in the message."""


def assess(context: Context, params: Params) -> Delayed:
    """Score the images: convergence, residuals, noise, beam; and list what scored low in the run so far.

    The stages before score what they alone know: flags, solutions, flux densities.
    """
    images = [image for image in context.images if image.convergence is not None]
    urls = [context.locate(image.convergence) for image in images if image.convergence is not None]
    measured = map_chunks(context, measure_image_quality, urls)
    earlier = tuple(score for scores in context.qa.values() for score in scores)
    return run_task(context, _finish, measured, tuple(images), earlier, params.low_score)


def score_image(image: ImageRecord, quality: ImageQuality) -> list[QAScore]:
    """Return the scores of one image."""
    if quality.n_channels == 0:
        return [
            score_between(
                "channels with data",
                0.0,
                unit="",
                good=1.0,
                bad=0.0,
                applies_to=image.name,
                scope=ScoreScope.IMAGE,
                hint="look at the flags",
            )
        ]
    converged = 100 * quality.n_converged / quality.n_channels
    scores = [
        score_between(
            "converged channels",
            converged,
            unit="%",
            good=100.0,
            bad=0.0,
            applies_to=image.name,
            scope=ScoreScope.IMAGE,
            hint="raise max_iterations or max_cycles, or the threshold",
        ),
        score_between(
            "largest residual over noise",
            quality.worst_residual,
            unit="",
            good=6.0,
            bad=30.0,
            applies_to=image.name,
            scope=ScoreScope.IMAGE,
            hint="look at the residual of that channel: sidelobes, interference, a calibration error",
        ),
        score_between(
            "largest noise of a channel over the median",
            quality.worst_noise,
            unit="",
            good=1.5,
            bad=10.0,
            applies_to=image.name,
            scope=ScoreScope.IMAGE,
            hint="look at the flags of that channel",
        ),
    ]
    if image.beam is None:
        name, value, good, bad, hint = "fitted beam", 0.0, 1.0, 0.0, "give a smaller cell_size"
    else:
        name, value, good, bad = "axis ratio of the beam", image.beam.major_rad / image.beam.minor_rad, 2.0, 10.0
        hint = "a short or low observation, or too few baselines"
    scores.append(
        score_between(
            name, value, unit="", good=good, bad=bad, applies_to=image.name, scope=ScoreScope.IMAGE, hint=hint
        )
    )
    return scores


def _finish(
    measured: Sequence[ImageQuality], images: Sequence[ImageRecord], earlier: Sequence[QAScore], low_score: float
) -> Outcome:
    """Score the images, and say which scores of the run are low."""
    scores = [score for image, quality in zip(images, measured, strict=True) for score in score_image(image, quality)]
    every = [*earlier, *scores]
    low = [f"{score.applies_to}: {score.message}" for score in every if score.score < low_score]
    if not every:
        return Outcome(status=OutcomeStatus.NOTHING, message="there is nothing to judge yet")
    return Outcome(
        status=OutcomeStatus.CAVEATS if low else OutcomeStatus.SUCCESS,
        message="; ".join(low) or f"{len(every)} scores, the lowest is {min(score.score for score in every):.2f}",
        qa=tuple(scores),
        summary={"scores": len(every), "low": len(low), "lowest": min(score.score for score in every)},
    )
