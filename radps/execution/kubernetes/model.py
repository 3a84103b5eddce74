"""What the config says of a cluster on Kubernetes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from radps.execution.settings import SMALLEST_WORKER_BYTES, Adapt, Settings, WorkerResources
from radps.units import DataSize, Duration

NANNY_BYTES = 256 * 2**20
"""Of a worker pod's memory, for the process that watches over the worker."""
SMALLEST_POD_BYTES = NANNY_BYTES + SMALLEST_WORKER_BYTES
"""Below this a worker has no room for the libraries."""

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Name = Annotated[str, Field(pattern=_NAME, max_length=253)]
"""Of an object of Kubernetes: lower case letters, digits, ``-`` and ``.``."""


class Toleration(Settings):
    """Lets pods run on nodes with a taint, e.g. on preemptible ones."""

    key: str | None = None
    """Of the taint; default: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """``Equal`` compares the value, ``Exists`` takes all."""
    value: str | None = None
    """Of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """What the taint does; default: all effects."""

    @model_validator(mode="after")
    def _is_one(self) -> Toleration:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with operator Exists has no value; remove one of both")
        if self.key is None and self.operator != "Exists":
            raise ValueError("a toleration without a key is for every taint; write operator: Exists with it")
        return self


class Volume(Settings):
    """Storage that all pods of the cluster see at the same place."""

    mount: str = Field(pattern=r"^/[^:]*$")
    """Absolute path in the pods."""
    claim: Name | None = None
    """PersistentVolumeClaim; for a run folder it has to be ReadWriteMany, or there is only one node."""
    source: dict[str, Any] | None = None
    """Instead of a claim: a volume as Kubernetes writes it, e.g. ``{nfs: {server: ..., path: ...}}``."""
    read_only: bool = False
    """Refuse to write to it."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Volume:
        if (self.claim is None) == (self.source is None):
            raise ValueError(f"the volume at {self.mount} needs a claim or a source, one of both")
        return self


class Pod(Settings):
    """What the pods of one kind get."""

    cpu: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    """Cores. A worker runs as many tasks at a time as it has whole cores, one at least."""
    memory: DataSize = Field(default=4.0 * 2**30, ge=SMALLEST_POD_BYTES)
    """Memory of the pod: both what it is given and what it may use."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes for these pods, besides those of the cluster, e.g. of a preemptible node pool."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints for these pods, besides those of the cluster."""


class SchedulerPod(Pod):
    """The pod that hands out the tasks; it should be on a node that stays."""

    memory: DataSize = Field(default=2.0 * 2**30, ge=SMALLEST_POD_BYTES)
    """Memory of the pod: both what it is given and what it may use."""


class WorkerPod(Pod):
    """The pods that compute; they may come and go."""

    resources: WorkerResources = Field(default_factory=dict)
    """What each worker offers to steps that ask for it by ``resources``, e.g. ``{GPU: 1}``."""
    limits: dict[str, str] = Field(default_factory=dict)
    """Further resources of Kubernetes for the pod, e.g. ``{nvidia.com/gpu: "1"}``."""


class Tls(Settings):
    """Encryption between client, scheduler and workers, each of which shows a certificate of the same authority."""

    secret: Name
    """Secret with ``ca.crt``, ``tls.crt`` and ``tls.key``, mounted into the pods of the cluster."""
    folder: str = "/etc/radps-tls"
    """Where the driver finds the same three files; in a pod: where the Secret is mounted."""


class KubernetesCluster(Settings):
    """Pods on Kubernetes, made by Dask's operator and deleted at the end."""

    kind: Literal["kubernetes"]
    image: str = Field(min_length=1, pattern=r"^\S+$")
    """Container image with radps, of the same version as the driver's; see configs/kubernetes/Dockerfile."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes fetch the image."""
    image_pull_secrets: tuple[Name, ...] = ()
    """Secrets for a private registry."""
    namespace: Name | None = None
    """Default: that of the driver's pod, or of the current context of kubectl."""
    workers: int | None = Field(default=None, ge=1)
    """Number of worker pods; default: 2, unless ``adapt`` is given."""
    adapt: Adapt | None = None
    """Instead of ``workers``: as many as there is work for."""
    worker: WorkerPod = Field(default_factory=WorkerPod)
    """The pods that compute."""
    scheduler: SchedulerPod = Field(default_factory=SchedulerPod)
    """The pod that hands out the tasks."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of all pods."""
    secrets: tuple[Name, ...] = ()
    """Secrets whose keys become environment variables of all pods, e.g. the keys of an object store."""
    volumes: tuple[Volume, ...] = ()
    """Storage of all pods; the run folder is on one of them, or in an object store."""
    init_containers: tuple[dict[str, Any], ...] = ()
    """Containers that run in each pod before its own, as Kubernetes writes them, e.g. git-sync with a user's code. They
    see ``volumes``, and have the pods' image, if they do not say otherwise."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes for all pods."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes that all pods may run on."""
    service_account: Name | None = None
    """Of the pods; they need no rights. Default: that of the namespace."""
    user: int | None = Field(default=None, ge=1)
    """Number of the user and group that the pods run as, and that own new volumes; default: those of the image."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Further labels of all pods."""
    tls: Tls | None = None
    """Encrypt what client, scheduler and workers send."""
    start_timeout: Duration = Field(default=300.0, gt=0)
    """How long the cluster may take to start, the fetching of the image included. What cannot work ends earlier."""
    idle_timeout: Duration = Field(default=600.0, ge=30)
    """Kubernetes deletes a cluster that had nothing to do for so long, e.g. because its driver was killed."""
    keep: bool = False
    """Leave the cluster when the run ends, to look at it, until ``idle_timeout`` is over (``--keep-cluster``)."""
    port_forward: bool | None = None
    """Reach the scheduler through Kubernetes' API, as from a laptop; default: only if the driver is not in a pod."""

    @model_validator(mode="after")
    def _has_one_size(self) -> KubernetesCluster:
        if self.workers is not None and self.adapt is not None:
            raise ValueError(f"there are workers: {self.workers} and adapt; remove one of both")
        mounts = [volume.mount.rstrip("/") for volume in self.volumes]
        twice = sorted({mount for mount in mounts if mounts.count(mount) > 1})
        if twice:
            raise ValueError(f"two volumes are mounted at {', '.join(twice)}; give each a path of its own")
        return self

    @field_validator("init_containers")
    @classmethod
    def _have_names(cls, containers: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        names = [container.get("name") for container in containers]
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
            raise ValueError(f"the init containers have the names {names}; give each a name of its own")
        return containers

    @field_validator("env")
    @classmethod
    def _names_variables(cls, env: dict[str, str]) -> dict[str, str]:
        wrong = sorted(name for name in env if not _VARIABLE.fullmatch(name))
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no name of an environment variable; use letters, digits and _")
        return env

    @property
    def first_workers(self) -> int:
        """Workers that the cluster starts with."""
        return self.adapt.minimum if self.adapt else self.workers or 2

    @property
    def most_workers(self) -> int:
        """Workers that the cluster has when there is work for all."""
        return self.adapt.maximum if self.adapt else self.first_workers

    @property
    def threads(self) -> int:
        """Tasks that a worker runs at a time."""
        return max(1, int(self.worker.cpu))

    @property
    def worker_memory_bytes(self) -> int:
        """Memory of the worker process of a pod, which dask's nanny guards [bytes]."""
        return int(self.worker.memory) - NANNY_BYTES
