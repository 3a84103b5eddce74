"""Which graphs the cycles of a continuum image ask for, with answers that are made up."""

from __future__ import annotations

from typing import Any

import pytest
from dask.delayed import Delayed

from radps.domain.geometry import ImageGrid
from radps.domain.imaging import CleanOptions
from radps.domain.solver import IterationControl, ModelUpdate, Residual, StopReason
from radps.domain.weights import Weighting
from radps.graph_tasks.shapes import task_name
from radps.node_tasks.continuum_imaging import FirstLook, TermsUpdate
from radps.node_tasks.continuum_sums import ContinuumRules
from radps.node_tasks.cube_imaging import ImagingRules
from radps.node_tasks.samples import WeightingRule
from radps.stages._imaging import ImageTarget
from radps.stages.image_continuum import _iterate_cycles, _Work


class Names:
    """A step whose tasks have to have names of their own."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def task_key(self, name: str) -> str:
        return name

    def task_rules(self) -> None:
        return None

    def run_mark(self) -> str:
        return ""

    def is_finished(self, key: str) -> bool:
        return False

    def claim(self, key: str) -> None:
        assert key not in self.given
        self.given.append(key)


def iterate_cycles(series: int, peaks: list[float]) -> tuple[list[str], StopReason, int, bool]:
    """Answer the residual updates by some peaks; returns the tasks that end a graph, and which cycle is kept."""
    imaging = ImagingRules(
        grid=ImageGrid(32, 32, 1e-5),
        weighting=WeightingRule(Weighting.NATURAL, 0.0),
        clean=CleanOptions(),
        control=IterationControl(threshold=0.01),
        primary_beam=None,
    )
    work = _Work(
        ImageTarget("sky", "sky", (), ()), ["block"], ContinuumRules(imaging, 1e9, series=series), "memory://x"
    )
    loop = _iterate_cycles(Names(), work, [])  # type: ignore[arg-type]
    left, asked = iter(peaks[1:]), []
    graph: Any = next(loop)
    answer: Any = FirstLook(1.0, Residual(peaks[0]), peaks[0])
    while True:
        try:
            graph = loop.send(answer)
        except StopIteration as end:
            _, result, cycle = end.value
            return asked, result.stop_reason, cycle.number, cycle.coarse
        assert isinstance(graph, Delayed)
        asked.append(task_name(graph.key))
        answer = TermsUpdate(ModelUpdate(5), 0.1) if asked[-1].startswith("update_model") else Residual(next(left))


def test_a_diverged_image_goes_back_to_the_best_cycle_without_making_its_residual_again() -> None:
    asked, reason, kept, coarse = iterate_cycles(4, [1.0, 0.5, 5.0])
    assert (reason, kept, coarse) == (StopReason.DIVERGED, 1, False)
    assert asked[-1] == "residual-sky-0002"


@pytest.mark.parametrize("peaks", [[1.0, 0.5, 5.0, 0.5], [1.0, 2.0, 3.5]])
def test_what_is_kept_of_a_diverged_image_has_full_accuracy(peaks: list[float]) -> None:
    asked, reason, kept, coarse = iterate_cycles(0, peaks)
    best = peaks.index(min(peaks))
    assert (reason, kept, coarse) == (StopReason.DIVERGED, best, False)
    assert asked.count("save_residual-sky-0001-coarse") == 1
    assert asked.count("save_residual-sky-0001") == best


def test_the_residual_that_reaches_the_goal_is_made_to_full_accuracy() -> None:
    asked, reason, kept, coarse = iterate_cycles(0, [1.0, 0.5, 0.009, 0.009])
    assert (reason, kept, coarse) == (StopReason.THRESHOLD, 2, False)
    assert asked[-2:] == ["save_residual-sky-0002-coarse", "save_residual-sky-0002"]
