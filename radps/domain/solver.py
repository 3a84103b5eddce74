"""The one loop behind calibration and imaging: minimise the difference between data and a model.

1. **Residual update** (major cycle): exact and costly. Predict the data from the model, subtract, transform back.
2. Stop if the residual is small enough, if it grows, or if a limit is reached.
3. **Model update** (minor cycle): cheap and approximate. A number of CLEAN iterations, or one gain step.
4. Back to 1.

A problem brings the two updates; :func:`solve` brings the control, the reasons to stop and the history. Each plane of
an image and each solution interval is a problem of its own, so that one that diverges does not hold up its neighbours.

References
----------
Rau, Bhatnagar, Voronkov & Cornwell 2009, Proc. IEEE 97, 1472 (calibration and imaging as one minimisation).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Generator
from typing import NamedTuple, Protocol, TypeAlias, cast


class StopReason(enum.IntEnum):
    """Why a solver stopped. Stored as a number in the convergence tables; 0 is never written."""

    THRESHOLD = 1
    """The peak residual is at or below the threshold: converged."""
    N_SIGMA = 2
    """The peak residual is at or below ``n_sigma`` times its noise: converged."""
    MAX_ITERATIONS = 3
    """The limit of iterations over all cycles was reached."""
    MAX_CYCLES = 4
    """The limit of cycles was reached."""
    DIVERGED = 5
    """The peak residual grew beyond ``divergence_factor`` times the smallest one seen."""
    STALLED = 6
    """A model update changed nothing: more cycles would do the same."""
    NO_DATA = 7
    """There is no unflagged datum to solve for."""

    @property
    def is_converged(self) -> bool:
        """True when the solver reached the goal that it was given."""
        return self in (StopReason.THRESHOLD, StopReason.N_SIGMA)


class IterationControl(NamedTuple):
    """What a solver may spend, and when its result is good enough."""

    max_cycles: int = 100
    """Limit of residual updates that follow a model update."""
    max_iterations: int = 10_000
    """Limit of iterations over all model updates."""
    max_iterations_per_cycle: int = 1_000_000
    """Limit of iterations of one model update."""
    threshold: float = 0.0
    """Goal for the peak residual, in the unit of the problem (Jy/beam; relative change of gains)."""
    n_sigma: float = 0.0
    """Goal for the peak residual in units of the noise of the residual; 0 = not used."""
    divergence_factor: float = 3.0
    """The loop stops when the peak residual exceeds this many times the smallest one so far."""


class Residual(NamedTuple):
    """How far data and model are apart."""

    peak: float
    """Largest absolute residual, in the unit of the problem; NaN when there are no data."""
    noise: float = 0.0
    """Robust standard deviation of the residual, same unit; 0 where the problem has no use for it."""


class ModelUpdate(NamedTuple):
    """What a model update did."""

    iterations: int
    """Iterations done; 0 stops the loop as stalled."""
    model_flux: float = 0.0
    """Sum of the model after the update [Jy]; 0 where it has no meaning."""


class Problem(Protocol):
    """What :func:`solve` needs of a problem."""

    def residual_update(self) -> Residual:
        """Bring the residual up to date with the model, exactly."""

    def model_update(self, goal: float, max_iterations: int) -> ModelUpdate:
        """Improve the model from the present residual, down to ``goal`` at the deepest."""


class Cycle(NamedTuple):
    """One line of the history: the state after a residual update, and the model update that led to it."""

    peak_residual: float
    iterations: int
    model_flux: float


class SolverResult(NamedTuple):
    """How a solver ended."""

    stop_reason: StopReason
    history: tuple[Cycle, ...]
    """The state at the start and after every cycle: at least one entry."""

    @property
    def n_cycles(self) -> int:
        """Residual updates that followed a model update."""
        return len(self.history) - 1

    @property
    def n_iterations(self) -> int:
        """Iterations over all model updates."""
        return sum(cycle.iterations for cycle in self.history)


class ResidualRequest(NamedTuple):
    """The loop asks for a :class:`Residual` that is exact for the present model."""


class ModelRequest(NamedTuple):
    """The loop asks for a :class:`ModelUpdate` from the present residual."""

    goal: float
    """Level at which the update ends at the deepest, in the unit of the residual."""
    max_iterations: int


Loop: TypeAlias = Generator[ResidualRequest | ModelRequest, Residual | ModelUpdate, SolverResult]
"""What :func:`iterate` is: requests out, their results in, the solution at the end."""


def iterate(control: IterationControl) -> Loop:
    """Run the loop, asking for each update and being sent its result.

    :func:`solve` answers at once, in a chunk task; continuum imaging answers with the result of a graph. The loop
    itself stands here only.

    Parameters
    ----------
    control : IterationControl
        Limits and goals.

    Yields
    ------
    ResidualRequest or ModelRequest
        To be answered by ``send`` with a :class:`Residual` or a :class:`ModelUpdate`.

    Returns
    -------
    SolverResult
        The reason to stop and the history.
    """
    residual = cast("Residual", (yield ResidualRequest()))
    history = [Cycle(residual.peak, 0, 0.0)]
    smallest = residual.peak
    spent = 0
    while True:
        reason = _reason_to_stop(residual, control, smallest=smallest, spent=spent, cycles=len(history) - 1)
        if reason is not None:
            return SolverResult(reason, tuple(history))
        budget = min(control.max_iterations - spent, control.max_iterations_per_cycle)
        goal = max(control.threshold, control.n_sigma * residual.noise)
        update = cast("ModelUpdate", (yield ModelRequest(goal, budget)))
        if update.iterations == 0:
            return SolverResult(StopReason.STALLED, tuple(history))
        spent += update.iterations
        residual = cast("Residual", (yield ResidualRequest()))
        history.append(Cycle(residual.peak, update.iterations, update.model_flux))
        smallest = min(smallest, residual.peak)


def solve(problem: Problem, control: IterationControl) -> SolverResult:
    """Alternate residual and model updates of a problem until a reason to stop.

    Parameters
    ----------
    problem : Problem
        Holds data, model and residual; changed in place.
    control : IterationControl
        Limits and goals.

    Returns
    -------
    SolverResult
        The reason to stop and the history. The problem holds the model and a residual that is exact for it.
    """
    loop = iterate(control)
    request = next(loop)
    while True:
        answer = (
            problem.residual_update()
            if isinstance(request, ResidualRequest)
            else problem.model_update(request.goal, request.max_iterations)
        )
        try:
            request = loop.send(answer)
        except StopIteration as end:
            solution: SolverResult = end.value
            return solution


def _reason_to_stop(
    residual: Residual, control: IterationControl, *, smallest: float, spent: int, cycles: int
) -> StopReason | None:
    """Return why the loop ends here, or None to go on; goals count before limits."""
    if math.isnan(residual.peak):
        return StopReason.NO_DATA
    if residual.peak <= control.threshold:
        return StopReason.THRESHOLD
    if control.n_sigma > 0 and residual.peak <= control.n_sigma * residual.noise:
        return StopReason.N_SIGMA
    if residual.peak > control.divergence_factor * smallest:
        return StopReason.DIVERGED
    if spent >= control.max_iterations:
        return StopReason.MAX_ITERATIONS
    if cycles >= control.max_cycles:
        return StopReason.MAX_CYCLES
    return None
