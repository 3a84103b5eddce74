"""radps: from the raw visibilities of a radio interferometer to calibrated data, images and spectral cubes.

The names below are the public interface. Each one is imported when it is first used: ``import radps`` costs nothing::

    run, open_run, Run       a workflow, from Python
    list_runs                the runs below a folder, and where each one stands
    load_workflow, Workflow  a config, checked
    simulate_observation     raw data with a known truth
    Context, Outcome         what a stage reads, and what it returns
    StageParams              base of the parameters of a stage
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radps.api import Run, open_run, run
    from radps.context.model import Context
    from radps.context.records import Outcome
    from radps.data.simulate import simulate_observation
    from radps.stages.base import StageParams
    from radps.workflows.model import Workflow
    from radps.workflows.reading import load_workflow
    from radps.workflows.runs import list_runs

__version__ = "0.1.0"

__all__ = [
    "Context",
    "Outcome",
    "Run",
    "StageParams",
    "Workflow",
    "list_runs",
    "load_workflow",
    "open_run",
    "run",
    "simulate_observation",
]

_HOMES = {
    "Context": "radps.context.model",
    "Outcome": "radps.context.records",
    "Run": "radps.api",
    "StageParams": "radps.stages.base",
    "Workflow": "radps.workflows.model",
    "list_runs": "radps.workflows.runs",
    "load_workflow": "radps.workflows.reading",
    "open_run": "radps.api",
    "run": "radps.api",
    "simulate_observation": "radps.data.simulate",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: a worker process, or ``radps-run --help``, needs few of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'radps' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
