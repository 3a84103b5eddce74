"""What a cluster that radps did not fork from this process has to have before the first task: each is checked at once.

1. The same Python, dask, distributed and radps in all processes.
2. The run folder: what the driver writes there the workers read, and the other way round. A pod without the volume
   would make a folder of the same name in its own container, and write into it.
3. The user's own modules; they are sent where they are missing.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
from collections.abc import Iterator, Sequence

import dask
from distributed import Client, Worker

import radps
from radps.data.files import list_names, read_file, replace_file
from radps.data.stores import delete, exists, join_url
from radps.errors import ClusterError
from radps.execution.user_code import send_user_code

_PROBE = "workers-"
"""Start of the name of the folder in the run folder that is written to and deleted again."""


def make_ready(client: Client, where: str, *, run_url: str = "", modules: Sequence[str] = ()) -> None:
    """Check the processes of a cluster, and send the user's own modules to them.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    where : str
        The cluster, in words.
    run_url : str
        The run folder; empty: there is none yet.
    modules : sequence of str
        The user's own modules.

    Raises
    ------
    ClusterError
        No workers, other software than here, a run folder that is not the same for all, or other modules of the user.
    """
    check_versions(client, where)
    if run_url:
        check_shared_folder(client, where, run_url)
    send_user_code(client, modules, where)


def check_versions(client: Client, where: str) -> None:
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
            f"the workers of {where} have no radps ({error}); install radps {radps.__version__} in their environment"
        ) from error
    if not radps_versions:
        raise ClusterError(f"{where} has no workers; start some")
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
            f"the software of {where} differs from here: {'; '.join(differences)}; "
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


def check_shared_folder(client: Client, where: str, run_url: str) -> None:
    """See that the driver and all workers read in the run folder what the others write.

    Raises
    ------
    ClusterError
        Names the first worker for which that is not so, and what it says.
    """
    token = secrets.token_hex(8)
    probe = join_url(run_url, f"{_PROBE}{token}")
    with _removed_at_the_end(run_url, probe):
        try:
            replace_file(join_url(probe, "driver"), token.encode(), durable=False)
        except OSError as error:
            raise ClusterError(
                f"cannot write to the run folder {run_url} ({type(error).__name__}: {error}); give another one "
                "(--run), or the right to write there"
            ) from error
        answers: dict[str, str] = client.run(answer_in_folder, probe, token)
        for number, (worker, problem) in enumerate(sorted(answers.items())):
            problem = problem or _read_answer(probe, worker, token)
            if problem:
                raise ClusterError(
                    f"worker {worker} of {where} does not have the run folder {run_url}: {problem} ({number} of "
                    f"{len(answers)} workers were in order); take a folder on a volume that all pods and machines "
                    "mount at the same path (cluster.volumes), with the right to write there, or a bucket with its "
                    "keys on the workers, too (cluster.secrets)"
                )


def answer_in_folder(probe: str, token: str, dask_worker: Worker) -> str:
    """Read what the driver wrote into a folder, and write an answer; it runs on the workers.

    Returns
    -------
    str
        What is wrong; empty if nothing is.
    """
    try:
        if read_file(join_url(probe, "driver")) != token.encode():
            return "what the driver wrote there is not there"
        replace_file(join_url(probe, _file_name(dask_worker.address)), token.encode(), durable=False)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _read_answer(probe: str, worker: str, token: str) -> str:
    """Return what is wrong with the answer of a worker, as the driver finds it; empty if nothing is."""
    written = read_file(join_url(probe, _file_name(worker)))
    return "" if written == token.encode() else "what it wrote there is not there for the driver"


def _file_name(worker: str) -> str:
    """Return the name of a worker's file."""
    return "".join(letter if letter.isalnum() else "-" for letter in worker)


@contextlib.contextmanager
def _removed_at_the_end(run_url: str, probe: str) -> Iterator[None]:
    """Leave nothing behind, and no run folder if there was none."""
    is_new = not exists(run_url)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            delete(probe)
            if is_new and exists(run_url) and not list_names(run_url):
                delete(run_url)
