"""What a workflow, or the work of one step, looks like as a graph: nodes and arrows, to be drawn or written.

Nothing is computed. The graph of a step is built as a run would build it, from what the run folder knows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, NamedTuple

from dask.delayed import Delayed

from radps.context.model import Context, Workspace
from radps.context.records import Resources, StepState
from radps.errors import ContextError, RadpsError, StageError
from radps.execution.clusters import planned_resources
from radps.graph_tasks.groups import group_tasks
from radps.run_folder.store import RunStore
from radps.stages.base import find_stage
from radps.workflows.model import Step, Workflow
from radps.workflows.plan import PlannedStep
from radps.workflows.policy import When
from radps.workflows.status import make_status

_END_OF_NAME = "|"


class Node(NamedTuple):
    """A box."""

    id: str
    text: tuple[str, ...]
    """Lines; the first one is the name."""
    state: str = ""
    """Of a step, empty if it has none: decides the colour."""


class Edge(NamedTuple):
    """An arrow."""

    source: str
    target: str
    text: str = ""
    is_dashed: bool = False


class Graph(NamedTuple):
    """Boxes and arrows."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def workflow_graph(workflow: Workflow) -> Graph:
    """Return the steps of a workflow, with their states if there is a run of it."""
    store = RunStore(workflow.run)
    states: dict[str, StepState] = {}
    if store.exists():
        driver = store.driver()
        status = make_status(store.load(), store.url, "" if driver is None else str(driver))
        states = {step.id: step.state for step in status.steps}
    nodes = tuple(_step_node(step, states.get(step.id)) for step in workflow.steps)
    edges = tuple(_step_edge(name, step) for step in workflow.steps for name in step.after)
    return Graph(f"{workflow.project or 'workflow'}: {len(nodes)} steps", nodes, edges)


def task_graph(workflow: Workflow, name: str) -> Graph:
    """Return the tasks of one step, those of the same name as one node.

    Parameters
    ----------
    workflow : Workflow
        Of the step.
    name : str
        Id of the step.

    Raises
    ------
    ConfigError
        There is no such step.
    ContextError
        A step that it needs is not done: what there is to do is not known yet.
    StageError
        The stage cannot build its graph, or has none.
    """
    step = workflow.step(name)
    graph, is_first = _build(step, _context_before(workflow, step))
    if graph is None:
        raise StageError(f"step {step.id!r} (stage {step.stage}) has no tasks: it does its work while it is called")
    groups = group_tasks(graph, lambda key: key.partition(_END_OF_NAME)[0])
    nodes = tuple(Node(group, (group, _count(number, "task"))) for group, number in groups.counts.items())
    edges = tuple(Edge(source, target, str(number)) for (source, target), number in groups.edges.items())
    more = "; the first graph of several: what comes next depends on its result" if is_first else ""
    total = _count(sum(groups.counts.values()), "task")
    return Graph(f"step {name} (stage {step.stage}): {total}{more}", nodes, edges)


def count_planned_tasks(workflow: Workflow, plan: Iterable[PlannedStep]) -> dict[str, str]:
    """Return how many tasks the steps have that would run, in words, as far as it is known before anything is computed.

    A graph depends on what the steps before have found, so that only steps are in it that wait for no other one. That a
    stage cannot build its graph, because its chunks do not fit into the memory, say, is what it would fail with.
    Stages of users are left out: they may do their work while they are called.
    """
    running: set[str] = set()
    found = {}
    for planned in plan:
        if not planned.runs:
            continue
        step = planned.step
        waits = any(before.id in running for before in workflow.ancestors(step.id))
        running.add(step.id)
        if waits or ":" in step.stage:
            continue
        try:
            graph, is_first = _build(step, _context_before(workflow, step))
        except RadpsError as error:
            found[step.id] = str(error)
            continue
        count = 0 if graph is None else len(group_tasks(graph, str).counts)
        found[step.id] = _count(count, "task") + ", then more" * is_first
    return found


class _GroupedContext(Context):
    """A context whose tasks have keys that begin with the name of their group."""

    def task_key(self, name: str) -> str:
        return f"{name}{_END_OF_NAME}"


def _step_node(step: Step, state: StepState | None) -> Node:
    stage = () if step.stage == step.id else (step.stage,)
    return Node(step.id, (step.id, *stage, *(() if state is None else (str(state),))), str(state or ""))


def _step_edge(name: str, step: Step) -> Edge:
    if step.when is When.SUCCESS:
        return Edge(name, step.id)
    return Edge(name, step.id, f"when: {step.when}", is_dashed=True)


def _context_before(workflow: Workflow, step: Step) -> Context:
    """Return what a step would know if it started now."""
    store = RunStore(workflow.run)
    records = store.load().steps if store.exists() else {}
    ended = [StepState.DONE, StepState.SKIPPED]
    if step.when is not When.SUCCESS:
        ended += [StepState.FAILED, StepState.BLOCKED]
    missing = [
        before.id
        for before in workflow.ancestors(step.id)
        if before.id not in records or records[before.id].state not in ended
    ]
    if missing:
        raise ContextError(
            f"the tasks of step {step.id!r} depend on what {', '.join(missing)} will find, which is not done in "
            f"{store.url}; run that first: --until {missing[-1]}"
        )
    own = records.get(step.id)
    place = Workspace(
        url=workflow.run,
        step=step.id,
        attempt=own.attempt if own and own.attempt else 1,
        resources=planned_resources(workflow.cluster) or Resources(),
        dataset_paths=workflow.data.path,
        intents=workflow.data.intents,
    )
    context = _GroupedContext(run_id="", project=workflow.project)
    return context.with_records(records[before.id] for before in workflow.ancestors(step.id)).at(place)


def _build(step: Step, context: Context) -> tuple[Delayed | None, bool]:
    """Return the graph of a stage, or the first one that it yields, and which of both it is; None if it has none."""
    try:
        result: Any = find_stage(step.stage).function(context, step.params)
        is_generator = isinstance(result, Generator)
        if is_generator:
            result = _first(result)
    except RadpsError:
        raise
    except Exception as error:
        raise StageError(
            f"stage {step.stage} of step {step.id!r} cannot build its graph: {type(error).__name__}: {error}"
        ) from error
    return (result if isinstance(result, Delayed) else None), is_generator


def _first(stage: Generator[Any, Any, Any]) -> Any:
    """Return what a stage yields first, or what it returns if it yields nothing."""
    try:
        return next(stage)
    except StopIteration as stop:
        return stop.value
    finally:
        stage.close()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
