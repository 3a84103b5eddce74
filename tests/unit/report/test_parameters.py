"""Parameters are shown in units of the field, and what was changed comes first."""

from __future__ import annotations

import math
from typing import Any

import pytest

from radps.context.scores import score_between
from radps.report.measures import explain_scores
from radps.report.parameters import ParameterMeaning, format_value, parameter_rows


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (math.radians(15 / 3600), "rad", "15 arcsec"),
        (math.radians(1 / 3600), "rad", "1 arcsec"),
        (math.radians(-90), "rad", "-90 deg"),
        (1.42e9, "Hz", "1.42 GHz"),
        (0.008, "Jy", "8 mJy"),
        (0.0, "s", "0"),
        (90.0, "s", "1.5 min"),
        (1_480_000.0, "m / s", "1480 km/s"),
        (3, "", "3"),
        (True, "", "yes"),
        (None, "rad", "none"),
        ([], "", "none"),
        (["flux", "phase"], "", "flux, phase"),
        ([1e6, 2e9], "Hz", "1 MHz, 2 GHz"),
        ({"kind": "channels", "average": None}, "", '{"kind": "channels"}'),
        ([{"channels": ["9"], "times": None}], "", '[{"channels": ["9"]}]'),
    ],
)
def test_values_have_a_unit_that_suits_them(value: Any, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_long_values_are_cut() -> None:
    assert format_value("x" * 1000) == "x" * 300 + " ..."


def test_changed_parameters_come_first_with_their_default() -> None:
    meanings = (
        ParameterMeaning("gain", "0.1", "", "Of the loop."),
        ParameterMeaning("threshold", "0.0", "Jy", "Where CLEAN ends."),
        ParameterMeaning("field", "required", "", ""),
    )
    rows = parameter_rows({"gain": 0.1, "threshold": 0.008, "field": "disc", "unknown": 1}, meanings)
    assert [(row["name"], row["value"], row["default"], row["is_changed"]) for row in rows] == [
        ("threshold", "8 mJy", "0", True),
        ("field", "disc", "required", True),
        ("gain", "0.1", "", False),
        ("unknown", "1", "", False),
    ]


def test_each_measure_is_explained_once_by_the_name_that_fits_best() -> None:
    names = ("flagged fraction", "flagged gain solutions", "flagged fraction", "a measure of a user")
    scores = [score_between(name, 1.0, unit="%", good=10, bad=90, applies_to="all") for name in names]
    found = dict(explain_scores(scores))
    assert list(found) == ["flagged fraction", "flagged gain solutions"]
    assert found["flagged fraction"].startswith("Part of the data of a field")
