"""Which integrations share a solution."""

from __future__ import annotations

import numpy as np
import pytest

from radps.domain.solution_intervals import number_intervals

TIMES_S = 1e9 + np.array([0.0, 10.0, 20.0, 29.9999, 60.0, 70.0])


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ("scan", [0, 0, 0, 0, 0, 0]),
        ("integration", [0, 1, 2, 3, 4, 5]),
        # 29.9999 s is 30 s rounded; from 30 to 60 s there is nothing else
        (30.0, [0, 0, 0, 1, 2, 2]),
        (20.0, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_intervals_are_numbered_without_gaps(interval: str | float, expected: list[int]) -> None:
    assert number_intervals(TIMES_S, interval).tolist() == expected  # type: ignore[arg-type]


def test_a_scan_may_start_before_the_times() -> None:
    assert number_intervals(TIMES_S, 30.0, TIMES_S[0] - 15.0).tolist() == [0, 0, 1, 1, 2, 2]
