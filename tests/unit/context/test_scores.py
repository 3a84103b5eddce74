"""Scores: one scale, with the number behind, and queries over all steps."""

from __future__ import annotations

import math

import pytest

from radps.context.scores import QAScore, ScoreScope, StepScore, find_scores, score_between


@pytest.mark.parametrize(
    ("value", "score"), [(0.0, 1.0), (10.0, 1.0), (35.0, 0.5), (60.0, 0.0), (99.0, 0.0), (math.nan, 0.0)]
)
def test_a_score_is_linear_between_good_and_bad(value: float, score: float) -> None:
    found = score_between("flags", value, unit="%", good=10.0, bad=60.0, applies_to="cal", hint="look at the flags")
    assert found.score == score
    assert (found.good, found.bad) == (10.0, 60.0)
    assert found.message.endswith("look at the flags") is (score < 1.0)


def test_more_may_be_better_as_well() -> None:
    assert score_between("done", 75.0, unit="%", good=100.0, bad=50.0, applies_to="all").score == 0.5


def test_scores_are_found_by_step_and_by_what_they_apply_to_the_worst_first() -> None:
    def one(name: str, value: float, applies_to: str, scope: ScoreScope) -> QAScore:
        return score_between(name, value, unit="", good=1.0, bad=0.0, applies_to=applies_to, scope=scope)

    good = one("flags", 0.9, "cal", ScoreScope.FIELD)
    bad = one("flags", 0.1, "star", ScoreScope.FIELD)
    # an antenna may have the name of a field
    antenna = one("gains", 0.5, "star", ScoreScope.ANTENNA)
    scores = {"flag": (good, bad), "calibrate": (antenna,)}
    every = (StepScore("flag", bad), StepScore("calibrate", antenna), StepScore("flag", good))
    assert find_scores(scores) == every
    assert find_scores(scores, step="flag") == (every[0], every[2])
    assert find_scores(scores, applies_to="star") == every[:2]
    assert find_scores(scores, scope="antenna", applies_to="star") == every[1:2]
    assert find_scores(scores, name="gains", step="flag") == ()
