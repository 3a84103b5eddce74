"""A cluster on Kubernetes for one run: made, watched until it is there, reached, and deleted.

``KubeCluster`` of dask_kubernetes is not used: its constructor waits for ever where an image is wrong, no node is free
or a quota is used up, and it knows no encryption. What is needed of it is little: one object is created, which Dask's
operator turns into pods, and one is deleted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from distributed import Client, Security

from radps.errors import ClusterError
from radps.execution.client import OnClient, first_line
from radps.execution.kubernetes.api import KubernetesApi
from radps.execution.kubernetes.model import KubernetesCluster, Tls
from radps.execution.kubernetes.objects import (
    COMM_PORT,
    COMPONENT_LABEL,
    HTTP_PORT,
    Object,
    dask_autoscaler,
    dask_cluster,
    new_cluster_name,
    scheduler_address,
)
from radps.execution.kubernetes.problems import describe_pods, find_problems
from radps.execution.kubernetes.rights import check_rights
from radps.execution.readiness import make_ready

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_PATIENCE_WITH_PROBLEMS_S = 30.0
"""A quota may become free, and a registry may answer again."""
_PATIENCE_FOR_OPERATOR_S = 30.0
_CONNECT_TIMEOUT_S = 30.0


@contextlib.contextmanager
def open_kubernetes(
    config: KubernetesCluster, run_url: str = "", *, allowed_failures: int = 3, modules: Sequence[str] = ()
) -> Iterator[OnClient]:
    """Start a cluster on Kubernetes, and delete it at the end.

    Parameters
    ----------
    config : KubernetesCluster
        Of the config.
    allowed_failures : int
        How many workers a task may take with it before it is given up.
    run_url, modules : str, sequence of str
        See :func:`~radps.execution.readiness.make_ready`. The run gives the cluster its name, too.

    Raises
    ------
    ClusterError
        Kubernetes, the operator or the pods do not do what they should, in their own words; nothing is left behind.
    """
    api = KubernetesApi(config.namespace)
    forwards = _forwards(config)
    check_rights(api, config, forwards=forwards)
    name = new_cluster_name(run_url.rstrip("/").rpartition("/")[2])
    place = f"the cluster {name} on Kubernetes"
    with contextlib.ExitStack() as stack:
        stack.enter_context(_created(api, config, name, allowed_failures))
        deadline = time.monotonic() + config.start_timeout
        _Watch(api, name, deadline).wait_for("scheduler")
        comm, dashboard = _addresses(stack, api, config, name, forwards=forwards)
        client = stack.enter_context(_connected(comm, config.tls, place))
        _Watch(api, name, deadline).wait_for("worker", lambda: bool(_workers(client)))
        make_ready(client, f"{place} (image {config.image!r})", run_url=run_url, modules=modules)
        yield OnClient(
            client,
            f"{_size(config)} of {name} on Kubernetes",
            slots=config.most_workers * config.threads if config.adapt else None,
            dashboard=dashboard,
            explain=lambda: "; ".join(find_problems(api.pods(name), api.events(name))),
            more_memory="Give the workers more memory (cluster.worker.memory)",
        )


@contextlib.contextmanager
def _created(api: KubernetesApi, config: KubernetesCluster, name: str, allowed_failures: int) -> Iterator[None]:
    """Create the objects of a cluster, and delete them after the block."""
    api.create(dask_cluster(config, name, api.namespace, allowed_failures))
    finished = False
    try:
        autoscaler = dask_autoscaler(config, name, api.namespace)
        if autoscaler is not None:
            api.create(autoscaler)
        yield
        finished = True
    finally:
        if config.keep:
            logger.info("cluster %s is kept; delete it by `kubectl delete daskcluster %s`", name, name)
        else:
            # The error on its way says more than that of a Kubernetes that cannot be reached to clean up.
            with contextlib.nullcontext() if finished else contextlib.suppress(ClusterError):
                if config.adapt:
                    api.delete("DaskAutoscaler", name)
                api.delete("DaskCluster", name)


class _Watch:
    """Waits for pods of a cluster.

    Parameters
    ----------
    api : KubernetesApi
        Says how they are.
    name : str
        Of the cluster.
    deadline : float
        When to give up, by :func:`time.monotonic`.
    """

    def __init__(self, api: KubernetesApi, name: str, deadline: float) -> None:
        self._api = api
        self._name = name
        self._deadline = deadline
        self._troubled_since: float | None = None

    def wait_for(self, component: str, is_there: Callable[[], bool] = lambda: False) -> None:
        """Wait until a pod of a component is ready, or something says that all is well.

        Raises
        ------
        ClusterError
            What keeps it from being ready does not pass, or time is over.
        """
        start = time.monotonic()
        while not is_there():
            pods = [
                pod for pod in self._api.pods(self._name) if pod["metadata"]["labels"][COMPONENT_LABEL] == component
            ]
            if any(_is_ready(pod) for pod in pods) and component == "scheduler":
                return
            now = time.monotonic()
            if not pods and now - start > _PATIENCE_FOR_OPERATOR_S and not self._api.phase(self._name):
                raise ClusterError(
                    f"Dask's operator does nothing about the cluster {self._name} in namespace {self._api.namespace!r} "
                    f"for {_PATIENCE_FOR_OPERATOR_S:.0f} s; check that its pod runs (`kubectl get pods -A -l "
                    "app.kubernetes.io/name=dask-kubernetes-operator`) and that it watches this namespace"
                )
            self._refuse_problems(pods, component, now)
            if now > self._deadline:
                raise ClusterError(
                    f"no {component} of the cluster {self._name} is ready within the time it may take to start: "
                    f"{describe_pods(pods)}; see `kubectl describe pods -l dask.org/cluster-name={self._name}`, or "
                    "give it more time (cluster.start_timeout)"
                )
            time.sleep(_POLL_S)

    def _refuse_problems(self, pods: Sequence[Object], component: str, now: float) -> None:
        """Give up when something has been wrong for too long; its words change from one try to the next."""
        events = self._api.events(self._name)
        if component == "scheduler":
            events = [event for event in events if "-worker-" not in event["involvedObject"]["name"]]
        problems = find_problems(pods, events)
        if not problems:
            self._troubled_since = None
        elif self._troubled_since is None:
            self._troubled_since = now
        elif now - self._troubled_since > _PATIENCE_WITH_PROBLEMS_S:
            raise ClusterError(f"the cluster {self._name} on Kubernetes does not start: {'; '.join(problems)}")


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _forwards(config: KubernetesCluster) -> bool:
    """Return True if the scheduler is reached by a port-forward: by default if this process is no pod."""
    if config.port_forward is None:
        return "KUBERNETES_SERVICE_HOST" not in os.environ
    return config.port_forward


def _addresses(
    stack: contextlib.ExitStack, api: KubernetesApi, config: KubernetesCluster, name: str, *, forwards: bool
) -> tuple[str, str]:
    """Return where this process finds the scheduler, and a person its dashboard."""
    comm = scheduler_address(config, name, api.namespace)
    if not forwards:
        return comm, f"http://{name}-scheduler.{api.namespace}.svc:{HTTP_PORT}/status"
    service = f"{name}-scheduler"
    port = stack.enter_context(api.forward(service, COMM_PORT))
    dashboard = stack.enter_context(api.forward(service, HTTP_PORT))
    return f"{comm.partition(':')[0]}://127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}/status"


@contextlib.contextmanager
def _connected(address: str, tls: Tls | None, place: str) -> Iterator[Client]:
    """Connect to the scheduler."""
    try:
        client = Client(address, timeout=_CONNECT_TIMEOUT_S, set_as_default=False, security=_security(tls))
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"the scheduler of {place} runs, and does not answer at {address} within {_CONNECT_TIMEOUT_S:.0f} s "
            f"({first_line(error)}); from outside of Kubernetes set cluster.port_forward, inside check the "
            "NetworkPolicy, and cluster.tls on both sides"
        ) from error
    with client:
        yield client


def _security(tls: Tls | None) -> Security | None:
    """Return the certificates of this process.

    Raises
    ------
    ClusterError
        They are not there.
    """
    if tls is None:
        return None
    ca, certificate, key = (str(Path(tls.folder) / file) for file in ("ca.crt", "tls.crt", "tls.key"))
    missing = [file for file in (ca, certificate, key) if not os.path.isfile(file)]
    if missing:
        raise ClusterError(
            f"no file {missing[0]} for cluster.tls; mount the Secret {tls.secret} into the driver's pod, or name the "
            "folder with ca.crt, tls.crt and tls.key (cluster.tls.folder)"
        )
    return Security(require_encryption=True, tls_ca_file=ca, tls_client_cert=certificate, tls_client_key=key)


def _workers(client: Client) -> list[str]:
    return list(client.scheduler_info(n_workers=-1).get("workers", {}))


def _size(config: KubernetesCluster) -> str:
    if config.adapt:
        return f"{config.adapt.minimum} to {config.adapt.maximum} workers"
    return f"{config.first_workers} worker{'' if config.first_workers == 1 else 's'}"
