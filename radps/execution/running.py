"""A cluster that runs already, at the address of its scheduler."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Sequence

import dask
from distributed import Client

import radps
from radps.errors import ClusterError
from radps.execution.client import OnClient, first_line
from radps.execution.user_code import send_user_code


@contextlib.contextmanager
def open_running(address: str, timeout_s: float, modules: Sequence[str] = ()) -> Iterator[OnClient]:
    """Connect to a scheduler, and check that its workers run the same software.

    Parameters
    ----------
    address : str
        Of the scheduler.
    timeout_s : float
        How long to wait for its answer, and as long again for the first of its workers [s].
    modules : sequence of str
        The user's own modules, sent to workers that do not have them.

    Raises
    ------
    ClusterError
        No answer, no workers, other versions than here, or other modules of the user.
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
        check_versions(client, address)
        send_user_code(client, modules, f"the cluster at {address}")
        yield OnClient(client, f"the cluster at {address}")


def check_versions(client: Client, address: str) -> None:
    """Compare the software of scheduler and workers with that of this process.

    Raises
    ------
    ClusterError
        Names every difference in the versions of Python (major.minor), dask, distributed and radps.
    """
    found = client.get_versions()
    here = own_versions()
    try:
        radps_versions = client.run(own_versions)
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"the workers at {address} have no radps ({error}); install radps {radps.__version__} in their environment"
        ) from error
    if not radps_versions:
        raise ClusterError(f"the cluster at {address} has no workers; start some")
    places = {f"worker {name}": versions for name, versions in radps_versions.items()}
    packages = found["scheduler"]["packages"]
    places["the scheduler"] = {
        "python": ".".join(packages["python"].split(".")[:2]),
        "dask": packages["dask"],
        "distributed": packages["distributed"],
    }
    differences = sorted(
        {
            f"{name} {version} at {place}, {here[name]} here"
            for place, versions in places.items()
            for name, version in versions.items()
            if version != here[name]
        }
    )
    if differences:
        raise ClusterError(
            f"the software at {address} differs from here: {'; '.join(differences)}; "
            "install the same versions on both sides"
        )


def own_versions() -> dict[str, str]:
    """Return the versions that have to be the same in all processes of a cluster."""
    # A worker runs this: what it needs is there already.
    import distributed

    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "dask": dask.__version__,
        "distributed": distributed.__version__,
        "radps": radps.__version__,
    }
