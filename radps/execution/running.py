"""A cluster that runs already, at the address of its scheduler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from distributed import Client

from radps.errors import ClusterError
from radps.execution.client import OnClient, first_line
from radps.execution.readiness import make_ready


@contextlib.contextmanager
def open_running(
    address: str, timeout_s: float, *, run_url: str = "", modules: Sequence[str] = ()
) -> Iterator[OnClient]:
    """Connect to a scheduler, and check that its workers are ready for the run.

    Parameters
    ----------
    address : str
        Of the scheduler.
    timeout_s : float
        How long to wait for its answer, and as long again for the first of its workers [s].
    run_url, modules : str, sequence of str
        See :func:`~radps.execution.readiness.make_ready`.

    Raises
    ------
    ClusterError
        No answer, or no workers that are ready.
    """
    try:
        client = Client(address, timeout=timeout_s, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no dask scheduler answers at {address} within {timeout_s:g} s ({first_line(error)}); check the address, "
            "that the scheduler runs, and that this machine may reach it"
        ) from error
    with client:
        with contextlib.suppress(TimeoutError):  # the next line says that there are none
            client.wait_for_workers(1, timeout_s)
        place = f"the cluster at {address}"
        make_ready(client, place, run_url=run_url, modules=modules)
        yield OnClient(client, place)
