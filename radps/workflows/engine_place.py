"""The engine of a run: opened when it is needed, replaced when its scheduler is lost."""

from __future__ import annotations

import contextlib
import logging

from radps.errors import ClusterError
from radps.execution.clusters import open_engine
from radps.execution.engine import Engine
from radps.stages.base import user_modules
from radps.workflows.model import Workflow

logger = logging.getLogger(__name__)

MOST_REPLACEMENTS = 3
"""How often a run starts a cluster anew: a cluster that is lost again and again has a reason that repeats, too."""


class EnginePlace:
    """Holds the engine of a run. Use it as a context manager.

    Parameters
    ----------
    workflow : Workflow
        Says where to compute.
    given : Engine, optional
        The engine of the caller, used as it is.
    """

    def __init__(self, workflow: Workflow, given: Engine | None = None) -> None:
        self._workflow = workflow
        self._given = given
        self._engine = given
        self._stack = contextlib.ExitStack()
        self._replacements = 0

    def __enter__(self) -> EnginePlace:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def description(self) -> str:
        """Where the run computes, in words; ``nowhere`` while there is no engine."""
        return "nowhere" if self._engine is None else self._engine.description

    def engine(self) -> Engine:
        """Return the engine, started if it is not there.

        Raises
        ------
        ClusterError
            It cannot be started or reached.
        """
        if self._engine is None:
            self._engine = self._stack.enter_context(open_engine_of(self._workflow))
        return self._engine

    def is_current(self, engine: Engine) -> bool:
        """Return True unless the engine has been replaced by another one."""
        return engine is self._engine

    def replace(self, lost: Engine) -> bool:
        """Give up an engine whose scheduler is gone; returns False if nobody may start another one.

        Worker processes of this machine and pods are started anew; a cluster at an address is somebody else's.
        """
        if lost is not self._engine:
            return True  # another step has seen it before
        if self._given is not None or self._workflow.cluster.kind not in ("local", "kubernetes"):
            return False
        if self._replacements >= MOST_REPLACEMENTS:
            return False
        self._replacements += 1
        self._close()
        return True

    def _close(self) -> None:
        """Close what is open; what a dead cluster says to that is of no interest, what is left behind is."""
        try:
            self._stack.close()
        except ClusterError as error:
            logger.warning("the cluster was not closed as it should be: %s", error)
        except Exception:
            logger.info("closing the cluster failed", exc_info=True)
        self._engine = self._given


def open_engine_of(workflow: Workflow) -> contextlib.AbstractContextManager[Engine]:
    """Open the cluster of a workflow in a block; see :func:`~radps.execution.clusters.open_engine`."""
    return open_engine(
        workflow.cluster,
        workflow.run,
        retries=max(step.policy.retries for step in workflow.steps),
        modules=user_modules(step.stage for step in workflow.steps),
    )


def describe_engine(engine: Engine) -> str:
    """Return where an engine computes, with the address at which one can watch it."""
    return f"{engine.description}, dashboard {engine.dashboard}" if engine.dashboard else engine.description
