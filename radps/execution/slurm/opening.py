"""A cluster on Slurm for a run.

1. The script of a job is shown to the queue (``sbatch --test-only``): what it refuses, it refuses before anything runs.
2. The scheduler starts in this process, with keys of this run, and the jobs are submitted.
3. The first worker is waited for; then it is compared with this process: versions, run folder, the user's code.
4. At the end the jobs are cancelled.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Security

from radps.context.drivers import find_user
from radps.errors import ClusterError
from radps.execution.client import OnClient, first_line
from radps.execution.environment import WORKER_ENVIRONMENT
from radps.execution.readiness import make_ready
from radps.execution.slurm.model import SlurmCluster, cluster_arguments

logger = logging.getLogger(__name__)

_PATIENCE_WITH_QUEUE_S = 60.0
_ROLES = ("client", "scheduler", "worker")


@contextlib.contextmanager
def open_slurm(
    config: SlurmCluster, run_url: str = "", *, allowed_failures: int = 3, modules: Sequence[str] = ()
) -> Iterator[OnClient]:
    """Start a scheduler here and workers in jobs of Slurm; the jobs are cancelled at the end.

    Parameters
    ----------
    config : SlurmCluster
        Of the config.
    allowed_failures : int
        How many workers a task may take with it before it is given up.
    run_url, modules : str, sequence of str
        See :func:`~radps.execution.readiness.make_ready`.

    Raises
    ------
    ClusterError
        There is no dask-jobqueue or no Slurm here, the queue refuses the job, no worker comes in time, or it is not
        ready.
    """
    cluster_class = _load_cluster_class()
    if shutil.which("sbatch") is None:
        raise ClusterError("there is no sbatch on this machine; start the run on a login node of the Slurm cluster")
    arguments = cluster_arguments(config, WORKER_ENVIRONMENT)
    _make_job_folder(arguments["log_directory"])
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": allowed_failures}))
        security = stack.enter_context(_keys_of_a_run(arguments["log_directory"]))
        try:
            cluster = stack.enter_context(cluster_class(**arguments, security=security))
        except (OSError, RuntimeError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"cannot start a scheduler for Slurm here: {first_line(error)}; check cluster.interface and the network"
            ) from error
        check_job(cluster.job_script())
        client = stack.enter_context(Client(cluster, set_as_default=False))
        if config.adapt:
            cluster.adapt(minimum=config.adapt.minimum, maximum=config.adapt.maximum)
        else:
            cluster.scale(config.most_workers)
        where = f"{config.most_workers} worker processes in jobs of Slurm"
        _wait_for_worker(client, config)
        make_ready(client, where, run_url=run_url, modules=modules)
        yield OnClient(
            client,
            where,
            slots=config.most_workers * config.threads,
            patience_without_workers_s=config.queue_timeout,
        )


def check_job(script: str) -> None:
    """Ask the queue whether it would take a job, without submitting it.

    Raises
    ------
    ClusterError
        It would not; says why in its own words.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        try:
            answer = _call("sbatch", "--test-only", file.name)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ClusterError(
                f"sbatch does not answer ({first_line(error)}); check that Slurm works here: sinfo"
            ) from error
    if answer.returncode:
        raise ClusterError(
            f"Slurm refuses the job: {(answer.stderr or answer.stdout).strip()}; correct queue, account, walltime, "
            "cores, memory or directives of the cluster"
        )


def _load_cluster_class() -> Any:
    """Return the class of dask-jobqueue."""
    try:
        # Imported here: an optional extra.
        import cryptography  # noqa: F401
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise ClusterError(
            f"a cluster of kind slurm needs {error.name}, which is not installed; pip install 'radps[slurm]'"
        ) from error
    return SLURMCluster


def _make_job_folder(folder: str) -> None:
    """Make the folder for logs and keys, for this user only."""
    try:
        Path(folder).mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"cannot make the folder for jobs of Slurm: {error}; name another one that the nodes see (job_folder)"
        ) from error


@contextlib.contextmanager
def _keys_of_a_run(folder: str) -> Iterator[Security]:
    """Make keys that who connects has to show, since other users of these machines reach their ports.

    The jobs read them from files, which only this user can, and which are gone at the end.
    """
    with tempfile.TemporaryDirectory(prefix="keys-", dir=folder) as place:
        made = Security.temporary()
        files: dict[str, Any] = {"require_encryption": True}
        for name in ("tls_ca_file", *(f"tls_{role}_{kind}" for role in _ROLES for kind in ("key", "cert"))):
            path = Path(place, name)
            path.write_text(getattr(made, name))
            files[name] = str(path)
        yield Security(**files)


def _wait_for_worker(client: Client, config: SlurmCluster) -> None:
    """Wait until one job has started."""
    try:
        client.wait_for_workers(1, timeout=config.queue_timeout)
    except TimeoutError as error:
        raise ClusterError(
            f"no worker has come from the queue within {config.queue_timeout:g} s{_describe_jobs()}; wait longer "
            f"(queue_timeout), ask for less, or read the logs of the jobs in {os.path.expanduser(config.job_folder)}"
        ) from error


def _describe_jobs() -> str:
    """Return what the queue says of the jobs, in brackets; nothing where it says nothing."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        answer = _call("squeue", "--user", find_user(), "--name", "radps", "--noheader", "--format", "%i %T %r")
        if jobs := "; ".join(answer.stdout.split("\n")[:3]).strip("; "):
            return f" (squeue: {jobs})"
    return ""


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_WITH_QUEUE_S, check=False)
