"""Simulated failures: as many as asked for, the same for the same seed, only where they are wanted."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from radps.node_tasks.faults import FaultKind, Faults

KEYS = [f"cube.clean_channels-N5921-1-{number:05d}" for number in range(4000)]


def test_the_rate_is_that_of_the_config() -> None:
    struck = sum(Faults(rate=0.3).strikes(key, 1) for key in KEYS)
    # Binomial: 1200 expected, standard deviation 29; 5 of them.
    assert abs(struck - 1200) < 5 * 29
    assert not any(Faults(rate=0.0).strikes(key, 1) for key in KEYS)
    assert all(Faults(rate=1.0).strikes(key, 1) for key in KEYS)


def test_the_seed_decides_and_nothing_else() -> None:
    first = [Faults(rate=0.5, seed=7).strikes(key, 1) for key in KEYS]
    assert first == [Faults(rate=0.5, seed=7, kind=FaultKind.SLOW).strikes(key, 1) for key in KEYS]
    assert first != [Faults(rate=0.5, seed=8).strikes(key, 1) for key in KEYS]
    assert first != [Faults(rate=0.5, seed=7).strikes(key, 2) for key in KEYS]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [("*", True), ("clean_*", True), ("cube.*", True), ("cube.clean_channels-*", True), ("moments.*", False)],
)
def test_tasks_are_chosen_by_name_with_or_without_the_step(tasks: str, expected: bool) -> None:
    assert Faults(rate=1.0, tasks=tasks).strikes(KEYS[0], 1) is expected


@pytest.mark.parametrize("wrong", [{"rate": 1.1}, {"rate": 0.1, "kind": "flood"}, {"rate": 0.1, "delay": "0 s"}, {}])
def test_wrong_faults_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Faults.model_validate(wrong)
