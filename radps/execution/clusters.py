"""Where to compute: the models of the config's ``cluster``, and how each becomes an engine.

=================  ====================================================================================
``none``           in this process, one task after the other: a breakpoint works everywhere
``local``          worker processes on this machine
``kubernetes``     pods on Kubernetes, by Dask's operator (a mapping with ``kind: kubernetes`` and the image)
``slurm``          worker processes in jobs of Slurm
``tcp://...``      the scheduler of a cluster that runs already (also ``tls://``, ``ucx://``, ``ws://``)
=================  ====================================================================================
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import psutil
from dask.system import cpu_count
from pydantic import BaseModel, Field, TypeAdapter

from radps.context.records import Resources
from radps.data.urls import format_bytes
from radps.errors import ClusterError
from radps.execution.engine import Engine, InProcess, memory_of_task
from radps.execution.kubernetes.model import KubernetesCluster
from radps.execution.settings import SMALLEST_WORKER_BYTES, Settings, WorkerResources
from radps.execution.slurm.model import SlurmCluster
from radps.units import DataSize, Duration

_PROTOCOLS = ("tcp://", "tls://", "ucx://", "ws://", "wss://")
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SHARE_OF_MEMORY = 0.9
"""Of the machine's memory, for the workers; the rest is for the scheduler and the driver."""
ALLOWED_FAILURES = 3
"""Workers of this machine that a task may take with it, besides its retries, before it is given up (dask's default)."""


class InProcessCluster(Settings):
    """No cluster."""

    kind: Literal["none"] = "none"


class LocalMachine(Settings):
    """Worker processes on this machine, one thread each."""

    kind: Literal["local"] = "local"
    workers: int | None = Field(default=None, ge=1)
    """Number of worker processes; default: the cores that this process may use."""
    memory_limit: DataSize | None = Field(default=None, ge=SMALLEST_WORKER_BYTES)
    """Memory of one worker; default: an equal share of 90 % of the machine's (or container's) memory."""
    resources: WorkerResources = Field(default_factory=dict)
    """What each worker offers to steps that ask for it by ``resources``, e.g. ``{GPU: 1}``."""


class RunningScheduler(Settings):
    """A cluster that somebody else started."""

    kind: Literal["address"] = "address"
    address: str = Field(pattern=r"^(tcp|tls|ucx|wss?)://\S+$")
    """Of the scheduler, e.g. ``tcp://10.0.0.5:8786``."""
    timeout: Duration = Field(default=10.0, gt=0)
    """How long to wait for its answer, and as long again for its first worker."""


Cluster = InProcessCluster | LocalMachine | RunningScheduler | KubernetesCluster | SlurmCluster
"""Any of the clusters."""

ClusterConfig = Annotated[Cluster, Field(discriminator="kind")]
"""What the config says under ``cluster``."""

CLUSTER_KINDS: dict[str, type[BaseModel]] = {
    "none": InProcessCluster,
    "local": LocalMachine,
    "kubernetes": KubernetesCluster,
    "address": RunningScheduler,
    "slurm": SlurmCluster,
}
"""Kind -> its model."""

_ADAPTER: TypeAdapter[Cluster] = TypeAdapter(ClusterConfig)


def parse_cluster(value: Any) -> Cluster:
    """Return the cluster that a short text (``none``, ``local``, an address) or a mapping means.

    Raises
    ------
    ValueError
        It is none of these. For a mapping this is pydantic's ValidationError, with the place of every mistake.
    """
    if isinstance(value, str):
        if value in ("none", "local"):
            value = {"kind": value}
        elif value.startswith(_PROTOCOLS):
            value = {"kind": "address", "address": value}
    if not isinstance(value, Mapping) or str(value.get("kind")) not in CLUSTER_KINDS:
        raise ValueError(
            f"{value!r} is not a cluster; write none, local, the address of a scheduler (tcp://HOST:PORT), "
            f"or a mapping with kind: {' | '.join(CLUSTER_KINDS)}"
        )
    return _ADAPTER.validate_python(value)


@contextlib.contextmanager
def open_engine(
    config: Cluster,
    run_url: str = "",
    *,
    retries: int = 0,
    modules: Sequence[str] = (),
) -> Iterator[Engine]:
    """Start or reach the cluster, and release it at the end.

    Parameters
    ----------
    config : Cluster
        Of :func:`parse_cluster`.
    run_url : str
        The run folder; one that worker processes cannot see is refused.
    retries : int
        How often a task may be repeated: as often it may take a worker of this machine with it, and a few times more.
    modules : sequence of str
        The user's own modules, which a cluster that runs already may not have.

    Raises
    ------
    ClusterError
        The cluster cannot be started or reached, its software differs, or its workers cannot see the run folder.
    """
    if isinstance(config, InProcessCluster):
        yield InProcess(memory_limit_bytes())
        return
    if run_url.startswith("memory://"):
        raise ClusterError(
            f"the run folder {run_url} lives in this process, and worker processes cannot see it; "
            "use --cluster none, or a run folder on a disk or in an object store"
        )
    # Imported here: half a second that a run without a cluster need not pay.
    from radps.execution.local import open_local
    from radps.execution.running import open_running

    if isinstance(config, LocalMachine):
        workers, memory = local_shares(config)
        with open_local(
            workers, memory, resources=config.resources, allowed_failures=retries + ALLOWED_FAILURES
        ) as engine:
            yield engine
    elif isinstance(config, KubernetesCluster):
        with _import_kubernetes()(
            config, run_url, allowed_failures=retries + ALLOWED_FAILURES, modules=modules
        ) as engine:
            yield engine
    elif isinstance(config, SlurmCluster):
        from radps.execution.slurm.opening import open_slurm

        with open_slurm(config, run_url, allowed_failures=retries + ALLOWED_FAILURES, modules=modules) as engine:
            yield engine
    else:
        with open_running(config.address, config.timeout, run_url=run_url, modules=modules) as engine:
            yield engine


def _import_kubernetes() -> Callable[..., contextlib.AbstractContextManager[Engine]]:
    """Return what opens a cluster on Kubernetes.

    Raises
    ------
    ClusterError
        The libraries for it are not installed.
    """
    try:
        from radps.execution.kubernetes.opening import open_kubernetes
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"a cluster on Kubernetes needs the package {error.name}; pip install 'radps[kubernetes]'"
        ) from error
    return open_kubernetes


def planned_resources(cluster: Cluster) -> Resources | None:
    """Return what a cluster would offer, without starting it; None for one that somebody else started."""
    if isinstance(cluster, InProcessCluster):
        return InProcess(memory_limit_bytes()).resources()
    if isinstance(cluster, LocalMachine):
        workers, memory = local_shares(cluster)
        return Resources(slots=workers, memory_bytes=memory_of_task(memory))
    if isinstance(cluster, KubernetesCluster):
        memory = memory_of_task(cluster.worker_memory_bytes, cluster.threads)
        return Resources(slots=cluster.most_workers * cluster.threads, memory_bytes=memory)
    if isinstance(cluster, SlurmCluster):
        slots = cluster.most_workers * cluster.threads
        memory = memory_of_task(cluster.task_memory_bytes * cluster.threads, cluster.threads)
        return Resources(slots=slots, memory_bytes=memory)
    return None


def local_shares(config: LocalMachine) -> tuple[int, int]:
    """Return the number of worker processes and the memory of each [bytes].

    Raises
    ------
    ClusterError
        A worker would have too little memory to start.
    """
    workers = config.workers or count_cores()
    share = int(memory_limit_bytes() * _SHARE_OF_MEMORY / workers)
    memory = share if config.memory_limit is None else int(config.memory_limit)
    if memory < SMALLEST_WORKER_BYTES:
        raise ClusterError(
            f"{workers} workers on a machine with {format_bytes(memory_limit_bytes())} would have "
            f"{format_bytes(memory)} each, and need {format_bytes(SMALLEST_WORKER_BYTES)} at least; use fewer "
            "(--workers N)"
        )
    return workers, memory


def count_cores() -> int:
    """Return the number of cores that this process may use: by its affinity, and by the limit of its container."""
    return int(cpu_count())


def memory_limit_bytes() -> int:
    """Return the memory of the machine, or of the container if that has less [bytes]."""
    limit = int(psutil.virtual_memory().total)
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as stream:
            limit = min(limit, int(stream.read()))
    return limit
