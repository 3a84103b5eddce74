"""radps from Python: run a config, open a run, do one step at a time.

::

    run = radps.run("configs/demo.yaml")        # or radps.open_run("runs/demo")
    run                                         # tables, in Jupyter
    run.context.observation.fields              # what is known
    run.step("cube", threshold="10 mJy")        # one step again, in this process, with another parameter
    trial = run.try_step("cube", robust=-0.5)   # beside the run: look at it, then trial.accept() or trial.drop()
    run.plan()                                  # what would be done now, and why
    run.image("cube").SKY                       # xarray
    run.gantt().savefig("gantt.png")            # when each worker did what
    run.report()                                # pages with plots of everything, for a browser
    run.prune()                                 # remove what old attempts left
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from radps.context.lineage import lineage
from radps.context.model import Context, Workspace
from radps.context.records import Outcome, StepRecord
from radps.data.urls import absolute_url
from radps.errors import ConfigError, StageError
from radps.execution.clusters import InProcessCluster, open_engine
from radps.execution.engine import Engine, InProcess
from radps.notebook import NotebookObserver
from radps.progress import BarObserver, LineObserver, make_observer
from radps.run_folder.events import Event, read_events
from radps.run_folder.store import RunStore
from radps.workflows.cleaning import Leftover, prune_run, remove_run
from radps.workflows.engine_place import open_engine_of
from radps.workflows.model import Workflow
from radps.workflows.plan import Plan, Selection, plan_steps
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner
from radps.workflows.status import RunState, Status, load_status
from radps.workflows.stopping import stop_run
from radps.workflows.trials import Trial, try_step

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


class Run:
    """A run folder and its workflow.

    Parameters
    ----------
    url : str
        The run folder.
    workflow : Workflow, optional
        What to do there; default: what was done there last.
    """

    def __init__(self, url: str, workflow: Workflow | None = None) -> None:
        self.url = absolute_url(url)
        self._workflow = workflow

    @property
    def workflow(self) -> Workflow:
        """The workflow, with the parameters that :meth:`step` was given.

        Raises
        ------
        ContextError, ConfigError
            It was not kept in the run folder, or its stages or data are not there any more.
        """
        if self._workflow is None:
            config = RunStore(self.url).load_workflow()
            # A copy of the folder at another place is a run of its own.
            self._workflow = load_workflow({**config, "run": self.url})
        return self._workflow

    @workflow.setter
    def workflow(self, workflow: Workflow) -> None:
        self._workflow = workflow

    @property
    def context(self) -> Context:
        """What the run knows now.

        Raises
        ------
        ContextError
            Nothing was run yet, or the folder is damaged.
        """
        return RunStore(self.url).load().at(Workspace(url=self.url))

    @property
    def tree(self) -> xarray.DataTree:
        """The arrays that the steps made, as xarray; see :attr:`Context.tree`."""
        return self.context.tree

    def image(self, name: str) -> xarray.Dataset:
        """Open an image or cube as xarray; see :meth:`Context.image`."""
        return self.context.image(name)

    def provenance(self, product: str) -> tuple[StepRecord, ...]:
        """Return the records of the steps from the raw data to a product, the one that made it last.

        Each has stage, attempt, parameters, fingerprint, and as ``provenance`` the host, the software, the code and the
        data that it was made with.

        Parameters
        ----------
        product : str
            Name of an image or calibration table, or path of a product below the run folder.

        Raises
        ------
        SelectionError
            No step made it; lists what there is.
        """
        return lineage(self.context.steps, product)

    def status(self) -> Status:
        """Return steps, QA scores, flux densities, images and products."""
        return load_status(self.url)

    def step(self, name: str | None = None, *, progress: bool = False, **params: Any) -> Outcome:
        """Do one step, done before or not, in this process: breakpoints and prints work everywhere in it.

        Parameters
        ----------
        name : str, optional
            Its id: it is done from its beginning. Default: the first step that is not done or has changed, which goes
            on where it was interrupted.
        progress : bool
            Print what is going on.
        **params
            Parameters to change; the run keeps them.

        Returns
        -------
        Outcome
            What the stage found.

        Raises
        ------
        StageError
            The step failed; ``__cause__`` holds the error.
        ConfigError
            There is no such step or parameter, a step before it is not done, all steps are done and none is named, or
            it is there for a failure, and nothing failed.
        KeyboardInterrupt
            The cell was interrupted; the step is recorded as stopped, and ``step()`` or :meth:`resume` goes on.
        """
        redo = () if name is None else (name,)
        name = name or self._next_step()
        workflow = self._changed(name, params) if params else self.workflow
        with open_engine(InProcessCluster()) as engine:
            selection = Selection(only=(name,), redo=redo)
            try:
                context = _compute(workflow, selection, progress=progress, engine=engine)
            except (StageError, KeyboardInterrupt):
                self.workflow = workflow  # the step has begun, so that the run folder has these parameters
                raise
        self.workflow = workflow
        record = context.steps[name]
        if record.outcome is None:
            raise ConfigError(self.url, [f"step {name!r} is {record.state} and was not done: {record.error}"])
        return record.outcome

    def try_step(self, name: str, **params: Any) -> Trial:
        """Do one step with other parameters beside the run, in this process: to look at, then to accept or to drop.

        Parameters
        ----------
        name : str
            Its id.
        **params
            Parameters to change; the run keeps them only if the trial is accepted.

        Returns
        -------
        Trial
            With ``outcome``, ``context``, ``image(name)``, ``accept()``, ``drop()``. Also a context manager, which
            drops it unless it was accepted.

        Raises
        ------
        StageError
            The step failed; nothing is left of the trial.
        ConfigError
            There is no such step or parameter, or a step before it is not done.
        ContextError
            Nothing was run yet, the folder is damaged, or somebody drives the run.
        """
        return try_step(self, self._changed(name, params).step(name))

    def plan(
        self, *, start: str | None = None, until: str | None = None, only: Sequence[str] = (), redo: Sequence[str] = ()
    ) -> Plan:
        """Return what :meth:`resume` would do, and why; nothing is done.

        Parameters
        ----------
        start, until, only, redo
            As of :meth:`resume`.

        Raises
        ------
        ConfigError, ContextError
            As of :meth:`resume`.
        """
        store = RunStore(self.url)
        context = store.load() if store.exists() else None
        selection = Selection(start, until, tuple(only), tuple(redo))
        return Plan(self.url, plan_steps(self.workflow, context, selection))

    def resume(
        self,
        *,
        start: str | None = None,
        until: str | None = None,
        only: Sequence[str] = (),
        redo: Sequence[str] = (),
        pause_before: Sequence[str] = (),
        progress: bool = True,
        engine: Engine | None = None,
    ) -> Run:
        """Do what is not done or changed, on the cluster of the workflow.

        Parameters
        ----------
        start, until : str, optional
            From this step on, with those that need it; up to this step, with those that it needs.
        only, redo : sequence of str
            Nothing but these steps; these steps again, changed or not.
        pause_before : sequence of str
            End before these steps; what does not need them is done. :meth:`step` or another call goes on.
        progress : bool
            Print what is going on.
        engine : Engine, optional
            Of :meth:`open_cluster`, to compute there; default: a cluster is opened, and closed at the end.

        Returns
        -------
        Run
            This one.

        Raises
        ------
        StageError
            A step failed: the first one. What does not need it was done all the same.
        ConfigError, ContextError, ClusterError
            Nothing was done.
        """
        selection = Selection(start, until, tuple(only), tuple(redo), tuple(pause_before))
        _compute(self.workflow, selection, progress=progress, engine=engine)
        return self

    def open_cluster(self) -> contextlib.AbstractContextManager[Engine]:
        """Open the cluster of the workflow in a block, for several calls of :meth:`resume`.

        One that is lost in the block is not replaced; the call ends with an error, and the next one goes on.

        Raises
        ------
        ClusterError
            It cannot be started or reached.
        """
        return open_engine_of(self.workflow)

    # --- managing ---

    def events(self, after: int = 0) -> tuple[Event, ...]:
        """Return what happened in all runs of this folder, oldest first; only what has a number above ``after``."""
        return read_events(self.url, after)

    def stop(self, wait_s: float = 60.0) -> RunState:
        """Ask the process that drives the run to stop, wherever it is, and wait for that.

        Parameters
        ----------
        wait_s : float
            How long to wait [s].

        Returns
        -------
        RunState
            Of the run afterwards; running if the driver is still at work.
        """
        return stop_run(self.url, wait_s).state

    def prune(self, *, dry_run: bool = False) -> tuple[Leftover, ...]:
        """Remove what old attempts of steps left and the run does not refer to; see :func:`prune_run`.

        Parameters
        ----------
        dry_run : bool
            Remove nothing.

        Returns
        -------
        tuple of Leftover
            What was, or would be, removed, with its size.
        """
        return prune_run(self.url, dry_run=dry_run)

    def remove(self) -> None:
        """Remove the run folder with all that is in it, for good; see :func:`remove_run`."""
        remove_run(self.url)

    def graph(self, step: str | None = None) -> Figure:
        """Draw the steps with their states, or the tasks of one step; nothing is computed.

        Parameters
        ----------
        step : str, optional
            Id of the step whose tasks are drawn.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from radps.workflows.drawing import draw_graph  # the rest of this module needs no pictures
        from radps.workflows.graphs import task_graph, workflow_graph

        return draw_graph(workflow_graph(self.workflow) if step is None else task_graph(self.workflow, step))

    def gantt(self) -> Figure:
        """Draw the steps and what each worker did; see :func:`gantt_chart`.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from radps.report.gantt import gantt_chart

        return gantt_chart(self.url)

    def report(self, *, visibilities: bool = True) -> str:
        """Write pages that explain the run as it stands; see :func:`make_report`.

        Parameters
        ----------
        visibilities : bool
            Plot the visibilities too, which reads a part of the data.

        Returns
        -------
        str
            URL of the front page.
        """
        from radps.workflows.reports import make_report

        return make_report(self.url, visibilities=visibilities)

    def _next_step(self) -> str:
        """Return the first step that the plan wants to run."""
        running = self.plan().running
        if not running:
            raise ConfigError(self.url, ["every step is done; name the one to do again"])
        return running[0]

    def _changed(self, name: str, params: Mapping[str, Any]) -> Workflow:
        """Return the workflow with other parameters of a step."""
        config = {**self.workflow.as_config(), "run": self.url}
        return load_workflow(config, {f"{name}.{key}": value for key, value in params.items()})

    def __repr__(self) -> str:
        return f"Run({self.url!r})"

    def _repr_html_(self) -> str:
        return self.status()._repr_html_() if RunStore(self.url).exists() else f"Run({self.url!r}): nothing was run yet"


def run(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    run: str | None = None,
    cluster: str | Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    start: str | None = None,
    until: str | None = None,
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    pause_before: Sequence[str] = (),
    progress: bool = True,
) -> Run:
    """Run a workflow, or go on where it ended: steps that are done and unchanged are skipped.

    Parameters
    ----------
    config : path or mapping
        A workflow file (YAML), or the same as a dictionary.
    run : str, optional
        Run folder, instead of that of the config.
    cluster : str or mapping, optional
        ``none``, ``local``, the address of a scheduler, or e.g. ``{"kind": "local", "workers": 2}``.
    settings : mapping, optional
        Overrides such as ``{"cube.threshold": "10 mJy", "data.path": "my.fits"}``.
    start, until, only, redo, pause_before, progress
        As of :meth:`Run.resume`.

    Returns
    -------
    Run

    Raises
    ------
    StageError
        A step failed: the first one. What does not need it was done all the same.
    ConfigError, ContextError, ClusterError
        Nothing was done.
    """
    overrides = {**(settings or {})}
    overrides.update({key: value for key, value in (("run", run), ("cluster", cluster)) if value is not None})
    workflow = load_workflow(config, overrides)
    opened = Run(workflow.run, workflow)
    return opened.resume(start=start, until=until, only=only, redo=redo, pause_before=pause_before, progress=progress)


def open_run(run: str | os.PathLike[str]) -> Run:
    """Open the run folder at a path or URL.

    Raises
    ------
    ContextError
        There is no run, or it is damaged.
    """
    opened = Run(os.fspath(run))
    RunStore(opened.url).load()
    return opened


def _make_observer(*, in_process: bool) -> BarObserver | LineObserver:
    """Return what shows progress where this runs: bars in Jupyter and on a terminal, else lines."""
    # rich's own bars in Jupyter need packages that radps does not.
    console = Console(force_jupyter=False)
    return NotebookObserver(console) if Console().is_jupyter else make_observer(console, in_process=in_process)


def _compute(workflow: Workflow, selection: Selection, *, progress: bool, engine: Engine | None = None) -> Context:
    """Run steps and raise the first error."""
    if not progress:
        runner = Runner(workflow, engine=engine, selection=selection)
        context = runner.run()
    else:
        in_process = isinstance(engine, InProcess) or workflow.cluster.kind == "none"
        with _make_observer(in_process=in_process) as observer:
            runner = Runner(workflow, engine=engine, selection=selection, observer=observer)
            context = runner.run()
    for failure in runner.failures.values():
        raise failure
    return context
