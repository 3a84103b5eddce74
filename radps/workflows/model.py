"""The workflow: which data, where to, which steps; as it is after the config was checked."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from radps.context.html import html_heading, html_table
from radps.errors import ConfigError
from radps.execution.clusters import Cluster, InProcessCluster
from radps.node_tasks.faults import Faults
from radps.stages.base import StageParams, close_match
from radps.workflows.policy import StepPolicy, When


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Model):
    """The data sets to work on."""

    path: tuple[str, ...] = ()
    """Absolute paths or URLs."""
    intents: dict[str, tuple[str, ...]] = {}
    """Field -> intents, where the data have none or wrong ones."""


class Step(_Model):
    """One step: a stage with its parameters, the steps that it comes after, and how it is run."""

    id: str
    stage: str
    after: tuple[str, ...]
    when: When = When.SUCCESS
    policy: StepPolicy = StepPolicy()
    params: SerializeAsAny[StageParams]

    def as_config(self) -> dict[str, Any]:
        """Return the step as plain data, as it stands in a config."""
        return {**self.model_dump(mode="json", exclude={"policy"}), **self.policy.model_dump(mode="json")}


class Workflow(_Model):
    """A config that was checked."""

    source: str
    """The file that it was read from."""
    run: str
    """URL of the run folder, absolute."""
    project: str = ""
    data: DataConfig = DataConfig()
    cluster: Cluster = InProcessCluster()
    dependencies: tuple[str, ...] = ()
    """Installed packages whose version counts, beside those of radps: with another one, steps are done again."""
    faults: Faults | None = None
    """Failures to simulate."""
    steps: tuple[Step, ...]
    """Each step stands after those that it needs."""

    def step(self, name: str) -> Step:
        """Return the step of that id.

        Raises
        ------
        ConfigError
            There is none; lists those there are.
        """
        for step in self.steps:
            if step.id == name:
                return step
        raise ConfigError(self.source, [describe_missing_step(name, tuple(step.id for step in self.steps))])

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        rows = (
            (one.id, one.stage, ", ".join(one.after), one.when, one.params.model_dump_json(exclude_defaults=True))
            for one in self.steps
        )
        return html_heading(f"Workflow {self.project}, into {self.run}") + html_table(
            "Steps", ("step", "stage", "after", "when", "parameters that are not the defaults"), rows
        )

    def ancestors(self, name: str) -> tuple[Step, ...]:
        """Return all steps that a step needs, directly or not, in the order of the workflow."""
        needed = set(self.step(name).after)
        for step in reversed(self.steps):
            if step.id in needed:
                needed.update(step.after)
        return tuple(step for step in self.steps if step.id in needed)

    def descendants(self, name: str) -> tuple[Step, ...]:
        """Return all steps that need a step, directly or not, in the order of the workflow."""
        reached = {self.step(name).id}
        found = []
        for step in self.steps:
            if reached.intersection(step.after):
                reached.add(step.id)
                found.append(step)
        return tuple(found)

    def as_config(self) -> dict[str, Any]:
        """Return the workflow as plain data that :func:`load_workflow` reads again."""
        return {
            "source": os.path.abspath(self.source) if os.path.isfile(self.source) else self.source,
            "data": {"path": list(self.data.path), "intents": {k: list(v) for k, v in self.data.intents.items()}},
            "run": self.run,
            "project": self.project,
            "cluster": self.cluster.model_dump(mode="json"),
            "dependencies": list(self.dependencies),
            **({} if self.faults is None else {"faults": self.faults.model_dump(mode="json")}),
            "steps": [step.as_config() for step in self.steps],
        }


def describe_missing_step(name: str, ids: tuple[str, ...]) -> str:
    """Return in words that there is no such step, and which there are."""
    return f"there is no step {name!r}{close_match(name, ids)}; steps: {', '.join(ids)}"
