"""QA scores: one scale for all stages, from 0 (unusable) to 1 (as good as it gets), with the number behind."""

from __future__ import annotations

import math

from radps.context.records import QAScore


def score_between(
    name: str, value: float, *, unit: str, good: float, bad: float, applies_to: str, hint: str = ""
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
        Field, spectral window, image ...
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
        applies_to=applies_to,
        message=text,
    )
