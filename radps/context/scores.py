"""QA scores: one scale for all stages, from 0 (unusable) to 1 (as good as it gets), with the number behind."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydantic import Field

from radps.context.base import Record
from radps.context.queries import check_word, matching

GOOD_SCORE, BAD_SCORE = 0.9, 0.5
"""A score from the first on needs no look; one below the second is bad."""


class ScoreScope(enum.StrEnum):
    """What kind of thing a score applies to."""

    RUN = "run"
    """All data of the run."""
    FIELD = "field"
    WINDOW = "window"
    """A spectral window."""
    ANTENNA = "antenna"
    IMAGE = "image"


class QAScore(Record):
    """One judgement of quality, in the same scale for all stages."""

    name: str
    score: float = Field(ge=0.0, le=1.0)
    """0 is unusable, 1 is as good as it gets."""
    value: float
    """The number behind the score."""
    unit: str
    good: float
    """At this value or beyond the score is 1."""
    bad: float
    """At this value or beyond the score is 0."""
    scope: ScoreScope = ScoreScope.RUN
    applies_to: str
    """Name of the field, spectral window, antenna or image; for the whole run: words."""
    message: str


class StepScore(NamedTuple):
    """A score, and the step that gave it."""

    step: str
    score: QAScore


def score_between(
    name: str,
    value: float,
    *,
    unit: str,
    good: float,
    bad: float,
    applies_to: str,
    scope: ScoreScope = ScoreScope.RUN,
    hint: str = "",
) -> QAScore:
    """Score a number linearly between the value that is good and the value that is bad.

    Parameters
    ----------
    name : str
        What was measured.
    value : float
        The number; a number that is not finite scores 0.
    unit : str
        Its unit.
    good, bad : float
        At ``good`` or beyond the score is 1, at ``bad`` or beyond it is 0; either may be the larger one.
    applies_to : str
        Name of the field, spectral window, antenna or image.
    scope : ScoreScope
        Which of these it is.
    hint : str
        What to look at when the score is below 1.
    """
    score = 0.0 if not math.isfinite(value) else min(1.0, max(0.0, (value - bad) / (good - bad)))
    text = f"{name} {value:.4g} {unit}".rstrip() + ("" if score == 1.0 or not hint else f"; {hint}")
    return QAScore(
        name=name,
        score=score,
        value=value if math.isfinite(value) else 0.0,
        unit=unit,
        good=good,
        bad=bad,
        scope=scope,
        applies_to=applies_to,
        message=text,
    )


def find_scores(
    scores: Mapping[str, Iterable[QAScore]],
    *,
    step: str | None = None,
    scope: ScoreScope | str | None = None,
    applies_to: str | None = None,
    name: str | None = None,
) -> tuple[StepScore, ...]:
    """Return the scores that have all of the properties that are given, the worst one first.

    Parameters
    ----------
    scores : mapping
        Step -> its scores.
    step, scope, applies_to, name : str, optional
        The step that gave it, what kind of thing it applies to, which one, and what was measured.

    Raises
    ------
    SelectionError
        There is no such scope; lists them.
    """
    check_word(scope, ScoreScope, "scope of scores")
    found = [
        StepScore(owner, one)
        for owner, ones in scores.items()
        if step in (None, owner)
        for one in matching(ones, scope=scope, applies_to=applies_to, name=name)
    ]
    return tuple(sorted(found, key=lambda one: one.score.score))
