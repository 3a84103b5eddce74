"""The loop is tested with problems whose course is known."""

from __future__ import annotations

import math

import pytest

from radps.domain.solver import IterationControl, ModelUpdate, Residual, StopReason, solve


class Shrinking:
    """A residual that every model update multiplies by a factor."""

    def __init__(self, start: float, factor: float, iterations: int = 10, noise: float = 0.0) -> None:
        self.peak = start
        self.factor = factor
        self.iterations = iterations
        self.noise = noise
        self.goals: list[float] = []
        self.budgets: list[int] = []

    def residual_update(self) -> Residual:
        return Residual(self.peak, self.noise)

    def model_update(self, goal: float, max_iterations: int) -> ModelUpdate:
        self.goals.append(goal)
        self.budgets.append(max_iterations)
        self.peak *= self.factor
        return ModelUpdate(min(self.iterations, max_iterations), 1.0 - self.peak)


def test_stops_at_the_threshold_after_the_known_number_of_cycles() -> None:
    problem = Shrinking(1.0, 0.5)
    solution = solve(problem, IterationControl(threshold=0.1))
    assert solution.stop_reason is StopReason.THRESHOLD
    assert solution.n_cycles == math.ceil(math.log(0.1) / math.log(0.5))
    assert [cycle.peak_residual for cycle in solution.history] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert solution.n_iterations == 40


@pytest.mark.parametrize(
    ("problem", "control", "reason"),
    [
        (Shrinking(1.0, 0.5, noise=0.1), IterationControl(n_sigma=3.0), StopReason.N_SIGMA),
        (Shrinking(1.0, 0.9), IterationControl(max_iterations=25), StopReason.MAX_ITERATIONS),
        (Shrinking(1.0, 0.9), IterationControl(max_cycles=3), StopReason.MAX_CYCLES),
        (Shrinking(1.0, 2.0), IterationControl(), StopReason.DIVERGED),
        (Shrinking(1.0, 1.0, iterations=0), IterationControl(), StopReason.STALLED),
        (Shrinking(math.nan, 1.0), IterationControl(), StopReason.NO_DATA),
    ],
)
def test_every_reason_to_stop(problem: Shrinking, control: IterationControl, reason: StopReason) -> None:
    assert solve(problem, control).stop_reason is reason


def test_iterations_never_exceed_the_limit() -> None:
    problem = Shrinking(1.0, 0.9)
    solution = solve(problem, IterationControl(max_iterations=25))
    assert solution.n_iterations == 25
    assert problem.budgets == [25, 15, 5]


def test_a_limit_of_one_cycle_holds_each_update_back() -> None:
    problem = Shrinking(1.0, 0.9, iterations=100)
    solve(problem, IterationControl(max_iterations=10, max_iterations_per_cycle=4))
    assert problem.budgets == [4, 4, 2]


def test_the_goal_is_the_larger_of_threshold_and_noise() -> None:
    problem = Shrinking(1.0, 0.5, noise=0.1)
    solve(problem, IterationControl(threshold=0.2, n_sigma=3.0))
    assert problem.goals[0] == pytest.approx(0.3)


def test_only_goals_count_as_converged() -> None:
    assert {reason for reason in StopReason if reason.is_converged} == {StopReason.THRESHOLD, StopReason.N_SIGMA}
