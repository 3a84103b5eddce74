"""How the steps of a workflow are run: when, how often, how long. Nothing here changes a result."""

from __future__ import annotations

import enum

from pydantic import BaseModel, ConfigDict, Field

from radps.execution.settings import WorkerResources
from radps.units import Duration


class When(enum.StrEnum):
    """In which case a step runs, once the steps before it have ended."""

    SUCCESS = "success"
    """All of them are done."""
    FAILURE = "failure"
    """One of them failed, or could not start because of a failure."""
    ALWAYS = "always"
    """Whatever became of them."""


class StepPolicy(BaseModel):
    """How the tasks of a step are run; the workflow's ``defaults`` hold for steps that say nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    retries: int = Field(default=0, ge=0)
    """How often a task that fails is repeated. Mistakes of the config or the data, which would come again, are not."""
    retry_delay: Duration = Field(default=5.0, ge=0.0)
    """Pause before the first retry of a task; it doubles with each one, up to ten minutes."""
    timeout: Duration | None = Field(default=None, gt=0.0)
    """How long the whole step may run; by default as long as it needs."""
    task_timeout: Duration | None = Field(default=None, gt=0.0)
    """How long one try of a task may run; its worker process is then killed and replaced, and the try has failed."""
    priority: int = 0
    """Among steps that run at the same time, tasks of a higher priority go first."""
    resources: WorkerResources = Field(default_factory=dict)
    """What a worker must offer to run a task of this step, e.g. {GPU: 1}; without a cluster it has no meaning."""


POLICY_KEYS = tuple(StepPolicy.model_fields)
"""Keys of a step, and of the workflow's ``defaults``."""
