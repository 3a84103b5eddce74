"""Parameters with a unit."""

from __future__ import annotations

import math

import pytest

from radps.units import parse_quantity


def test_a_bare_number_above_a_turn_is_no_angle() -> None:
    with pytest.raises(ValueError, match="15 is a number of radians, more than a turn; write an angle with its unit"):
        parse_quantity(15, "rad")
    assert parse_quantity(2 * math.pi, "rad") == 2 * math.pi
    assert parse_quantity("3600 deg", "rad") == pytest.approx(20 * math.pi)
