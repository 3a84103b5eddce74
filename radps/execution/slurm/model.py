"""What the config says of a cluster on Slurm, and what dask-jobqueue is told then."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from radps.execution.settings import SMALLEST_WORKER_BYTES, Adapt, Settings
from radps.units import DataSize, Duration

_SHELL_LINE = r"^[^\r\n]+$"
_WORD = r"^[^\s'\"`$;&|<>()\\]+$"

Word = Annotated[str, Field(pattern=_WORD)]
"""A name or path that stands in the script of a job as it is: no spaces, nothing that a shell would read."""


class SlurmCluster(Settings):
    """Worker processes in jobs of Slurm; the scheduler runs in the process of the driver, e.g. on a login node."""

    kind: Literal["slurm"]
    cores: int = Field(ge=1)
    """Cores of one job."""
    memory: DataSize = Field(ge=SMALLEST_WORKER_BYTES)
    """Memory of one job; its processes share it in equal parts."""
    processes: int | None = Field(default=None, ge=1)
    """Worker processes of one job; default: one a core. Each computes ``cores / processes`` tasks at a time."""
    workers: int | None = Field(default=None, ge=1)
    """Number of worker processes, in as many jobs as that takes; default: those of one job."""
    adapt: Adapt | None = None
    """Instead of ``workers``: as many as there is work for."""
    queue: Word | None = None
    """Partition (``#SBATCH -p``); default: that of the site."""
    account: Word | None = None
    """Who pays (``#SBATCH -A``); default: that of the user."""
    walltime: Duration = Field(default=4 * 3600.0, ge=60)
    """How long one job may run. Workers end with their job, so it has to be longer than the longest step."""
    directives: tuple[Annotated[str, Field(pattern=_SHELL_LINE)], ...] = ()
    """Further options of ``sbatch``, e.g. ``--constraint=skylake``."""
    prologue: tuple[Annotated[str, Field(pattern=_SHELL_LINE)], ...] = ()
    """Lines of shell before the worker starts, e.g. ``module load python/3.12``."""
    python: Word | None = None
    """Interpreter of the workers; default: that of the driver, which the nodes then have to see."""
    local_folder: Word | None = None
    """Fast disk of the nodes, for what does not fit into memory, e.g. ``/scratch``; default: where the job starts."""
    interface: Word | None = None
    """Network between driver and nodes, e.g. ``ib0``; default: the one of the default route."""
    resources: dict[Word, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """What each worker offers to steps that ask for it by ``resources``, e.g. ``{GPU: 1}``."""
    job_folder: str = "~/.radps/slurm"
    """A folder that driver and nodes see: for the logs of jobs and, during a run, the keys of their connections."""
    queue_timeout: Duration = Field(default=3600.0, gt=0)
    """How long to wait for the first worker."""

    @model_validator(mode="after")
    def _fits(self) -> SlurmCluster:
        if self.workers is not None and self.adapt is not None:
            raise ValueError(f"there are workers: {self.workers} and adapt; remove one of both")
        if self.cores % self.processes_per_job:
            raise ValueError(
                f"{self.cores} cores cannot be shared by {self.processes_per_job} processes; write a number of "
                "processes that divides the cores"
            )
        if self.memory / self.processes_per_job < SMALLEST_WORKER_BYTES:
            raise ValueError(
                f"{self.processes_per_job} processes share {self.memory / 2**20:.0f} MiB, and need "
                f"{SMALLEST_WORKER_BYTES // 2**20} MiB each; give the job more memory, or fewer processes"
            )
        return self

    @property
    def processes_per_job(self) -> int:
        """Worker processes of one job."""
        return self.processes or self.cores

    @property
    def threads(self) -> int:
        """Tasks that a worker process computes at a time."""
        return self.cores // self.processes_per_job

    @property
    def most_workers(self) -> int:
        """Worker processes when all jobs run."""
        wanted = self.adapt.maximum if self.adapt else self.workers or self.processes_per_job
        return -(-wanted // self.processes_per_job) * self.processes_per_job

    @property
    def task_memory_bytes(self) -> int:
        """Memory of a worker process for each task that it computes at a time [bytes]."""
        return int(self.memory / self.cores)


def cluster_arguments(config: SlurmCluster, environment: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of ``dask_jobqueue.SLURMCluster``, but for the keys of its connections.

    Parameters
    ----------
    config : SlurmCluster
        What the config says.
    environment : dict of str to str
        Variables that the processes of workers start with.
    """
    folder = os.path.expanduser(config.job_folder)
    extra = []
    if config.resources:
        offers = ",".join(f"{name}={amount:g}" for name, amount in sorted(config.resources.items()))
        extra += ["--resources", offers]
    return {
        "job_name": "radps",
        "cores": config.cores,
        "memory": f"{int(config.memory)} B",
        "processes": config.processes_per_job,
        "queue": config.queue,
        "account": config.account,
        "walltime": slurm_time(config.walltime),
        "job_extra_directives": list(config.directives),
        "job_script_prologue": [
            *(f"export {name}={value}" for name, value in sorted(environment.items())),
            *config.prologue,
        ],
        "python": config.python,
        "local_directory": config.local_folder,
        "interface": config.interface,
        "worker_extra_args": extra,
        "log_directory": folder,
        # The dashboard asks nobody for a key, so that it is for this machine only.
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
    }


def slurm_time(seconds: float) -> str:
    """Return a duration as Slurm reads it, in whole minutes, rounded up: ``D-HH:MM:00``."""
    minutes = -int(-seconds // 60)
    days, minutes = divmod(minutes, 24 * 60)
    return f"{days}-{minutes // 60:02d}:{minutes % 60:02d}:00"
