"""Make the report of a run at any time: of one that is done, that failed, or that is being driven by somebody else."""

from __future__ import annotations

from contextlib import suppress

from radps.context.model import Workspace
from radps.data.urls import join_url
from radps.errors import ContextError, RadpsError
from radps.execution.clusters import InProcessCluster, open_engine
from radps.report.pages import INDEX
from radps.run_folder.store import RunStore
from radps.stages.report import report_graph
from radps.workflows.reading import load_workflow

FOLDER = "products/report"
"""Relative to the run folder. A step `report` has a folder of its own, as every attempt of a step."""


def make_report(url: str, *, visibilities: bool = True) -> str:
    """Write the report of a run as it stands, in this process; nothing of the run itself is changed.

    Parameters
    ----------
    url : str
        The run folder.
    visibilities : bool
        Plot the visibilities too, which reads a part of the data.

    Returns
    -------
    str
        URL of the front page.

    Raises
    ------
    ContextError
        There is no run, it is damaged, or the report cannot be written.
    """
    store = RunStore(url)
    context = store.load().at(Workspace(url=store.url, step="report", stage="report"))
    with suppress(RadpsError):  # stages of the user can be imported then, which the page of their parameters needs
        load_workflow({**store.load_workflow(), "run": store.url})
    with open_engine(InProcessCluster()) as engine:
        try:
            engine.compute(report_graph(context, FOLDER, visibilities=visibilities))
        except OSError as error:
            place = join_url(store.url, FOLDER)
            raise ContextError(
                f"cannot make the report {place}: {error}; check permissions and space there, or copy the run to a "
                "place of your own and report that"
            ) from error
    return join_url(store.url, FOLDER, INDEX)
