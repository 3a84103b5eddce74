"""A cluster as objects of Kubernetes: plain data, made without a network.

The commands of the pods are written here, and not taken from ``dask_kubernetes.make_cluster_spec``: that starts
``dask-scheduler`` and ``dask-worker``, which distributed does not have since 2026.6.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from radps.execution.environment import WORKER_ENVIRONMENT
from radps.execution.kubernetes.model import KubernetesCluster, Pod

API_GROUP = "kubernetes.dask.org"
API_VERSION = f"{API_GROUP}/v1"
COMM_PORT = 8786
HTTP_PORT = 8787
CLUSTER_LABEL = "dask.org/cluster-name"
COMPONENT_LABEL = "dask.org/component"

_MOST_OF_A_NAME = 22
"""Characters of the run's name in that of the cluster: with what is put around it here and by the operator, 63."""
_TLS_FOLDER = "/etc/radps-tls"
_OF_INIT_CONTAINERS = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
"""A namespace with a quota takes no container that does not say what it needs; these end before the others begin."""
_HTTP_ROUTES = (
    "distributed.http.scheduler.prometheus",
    "distributed.http.scheduler.info",
    "distributed.http.scheduler.json",
    "distributed.http.health",
    "distributed.http.proxy",
    "distributed.http.statics",
    "distributed.http.scheduler.api",
)
"""Dask's own ones and the API, which the operator asks how many workers there should be, and which may go."""

Object = dict[str, Any]


def new_cluster_name(run_name: str) -> str:
    """Return a name that no cluster had before: one that is used again finds what is left of the old one.

    Parameters
    ----------
    run_name : str
        Last part of the run folder; what Kubernetes does not allow in names is replaced.
    """
    readable = readable_name(run_name, _MOST_OF_A_NAME)
    return "-".join(part for part in ("radps", readable, secrets.token_hex(4)) if part)


def scheduler_address(config: KubernetesCluster, name: str, namespace: str | None = None) -> str:
    """Return where pods find the scheduler; without a namespace, where those of its own one do."""
    host = f"{name}-scheduler.{namespace}.svc" if namespace else f"{name}-scheduler"
    return f"{_protocol(config)}://{host}:{COMM_PORT}"


def dask_cluster(config: KubernetesCluster, name: str, namespace: str, allowed_failures: int) -> Object:
    """Return the ``DaskCluster`` object of a cluster.

    Parameters
    ----------
    config : KubernetesCluster
        Of the config.
    name : str
        Of :func:`new_cluster_name`.
    namespace : str
        Of the cluster.
    allowed_failures : int
        How many workers a task may take with it before it is given up.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "radps"}},
        "spec": {
            "idleTimeout": int(config.idle_timeout),
            **cluster_pods(config, name, scheduler_address(config, name, namespace), allowed_failures),
        },
    }


def cluster_pods(config: KubernetesCluster, name: str, address: str, allowed_failures: int) -> Object:
    """Return the pods of a cluster: what a ``DaskCluster`` and the cluster of a ``DaskJob`` have in common.

    Parameters
    ----------
    config : KubernetesCluster
        Of the config.
    name : str
        Of the cluster.
    address : str
        Where its pods find the scheduler.
    allowed_failures : int
        How many workers a task may take with it before it is given up.
    """
    return {"scheduler": _scheduler(config, name, allowed_failures), "worker": _worker(config, address)}


def dask_autoscaler(config: KubernetesCluster, name: str, namespace: str) -> Object | None:
    """Return the ``DaskAutoscaler`` object of a cluster; None for one with a fixed number of workers."""
    if config.adapt is None:
        return None
    return {
        "apiVersion": API_VERSION,
        "kind": "DaskAutoscaler",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {CLUSTER_LABEL: name, COMPONENT_LABEL: "autoscaler"},
        },
        "spec": {"cluster": name, "minimum": config.adapt.minimum, "maximum": config.adapt.maximum},
    }


def make_pod(config: KubernetesCluster, kind: Pod, container: Object, tls_folder: str = _TLS_FOLDER) -> Object:
    """Return the spec of a pod with one container: what driver, scheduler and workers of a run have in common.

    Parameters
    ----------
    config : KubernetesCluster
        Says the image, the storage, the secrets and the user.
    kind : Pod
        Says which nodes take it.
    container : dict
        What is the container's own; the rest is added to it.
    tls_folder : str
        Where to mount the certificates, if there are any.
    """
    mounts, volumes = _storage(config, tls_folder)
    common: Object = {
        "image": config.image,
        "imagePullPolicy": config.image_pull_policy,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    container |= {
        **common,
        "envFrom": [{"secretRef": {"name": secret}} for secret in config.secrets],
        "volumeMounts": mounts,
    }
    before = [
        {**common, "resources": _OF_INIT_CONTAINERS, "volumeMounts": [*mounts], **one} for one in config.init_containers
    ]
    security: Object = {"seccompProfile": {"type": "RuntimeDefault"}}
    if config.user is not None:
        user = config.user
        security |= {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user}
    return {
        **({"initContainers": before} if before else {}),
        "containers": [container],
        "volumes": volumes,
        "imagePullSecrets": [{"name": secret} for secret in config.image_pull_secrets],
        "nodeSelector": {**config.node_selector, **kind.node_selector},
        "tolerations": [one.model_dump(exclude_none=True) for one in (*config.tolerations, *kind.tolerations)],
        "securityContext": security,
    }


def make_variables(env: Mapping[str, str]) -> list[Object]:
    """Return environment variables as a container has them."""
    return [{"name": name, "value": value} for name, value in env.items()]


def readable_name(text: str, length: int) -> str:
    """Return a text as a part of a name: what Kubernetes does not allow is replaced; empty if nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-")


def _scheduler(config: KubernetesCluster, name: str, allowed_failures: int) -> Object:
    health = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
    container = {
        "name": "scheduler",
        "args": [
            *("dask", "scheduler", "--host", "0.0.0.0"),
            *("--port", str(COMM_PORT), "--dashboard-address", f":{HTTP_PORT}"),
            *_tls_options(config),
        ],
        "env": make_variables(
            {
                "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures),
                "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": json.dumps(_HTTP_ROUTES),
                **config.env,
            }
        ),
        "ports": [
            {"name": "tcp-comm", "containerPort": COMM_PORT, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": HTTP_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 10},
        "livenessProbe": {**health, "initialDelaySeconds": 15, "periodSeconds": 20, "timeoutSeconds": 10},
    }
    service = {
        "type": "ClusterIP",
        "selector": {CLUSTER_LABEL: name, COMPONENT_LABEL: "scheduler"},
        "ports": [
            {"name": "tcp-comm", "protocol": "TCP", "port": COMM_PORT, "targetPort": "tcp-comm"},
            {"name": "http-dashboard", "protocol": "TCP", "port": HTTP_PORT, "targetPort": "http-dashboard"},
        ],
    }
    return {**_metadata(config), "spec": _pod(config, config.scheduler, container), "service": service}


def _worker(config: KubernetesCluster, address: str) -> Object:
    offers = [f"{key}={amount:g}" for key, amount in config.worker.resources.items()]
    container = {
        "name": "worker",
        "args": [
            *("dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", str(config.threads)),
            # Dask's own guess is the pod's limit times threads over the cores of the node.
            *("--memory-limit", str(config.worker_memory_bytes), "--no-dashboard", "--death-timeout", "60"),
            *(("--resources", " ".join(offers)) if offers else ()),
            *_tls_options(config),
        ],
        "env": make_variables(
            {
                **WORKER_ENVIRONMENT,
                **config.env,
                "DASK_SCHEDULER_ADDRESS": address,
            }
        ),
    }
    pod = _pod(config, config.worker, container, config.worker.limits)
    return {**_metadata(config), "replicas": config.first_workers, "spec": pod}


def _pod(config: KubernetesCluster, kind: Pod, container: Object, limits: Mapping[str, str] | None = None) -> Object:
    """Return the spec of a pod of the cluster."""
    memory = str(int(kind.memory))
    # The memory is not shared out twice: a pod that uses what it was promised is not killed.
    container["resources"] = {
        "requests": {"cpu": f"{kind.cpu:g}", "memory": memory, **(limits or {})},
        "limits": {"memory": memory, **(limits or {})},
    }
    pod = make_pod(config, kind, container)
    pod["automountServiceAccountToken"] = False  # nobody in these pods talks to Kubernetes
    if config.service_account:
        pod["serviceAccountName"] = config.service_account
    return pod


def _storage(config: KubernetesCluster, tls_folder: str) -> tuple[list[Object], list[Object]]:
    """Return the mounts of a container and the volumes of its pod."""
    mounts, volumes = [], []
    for number, volume in enumerate(config.volumes):
        name = f"volume-{number}"
        mounts.append({"name": name, "mountPath": volume.mount, "readOnly": volume.read_only})
        source = volume.source or {"persistentVolumeClaim": {"claimName": volume.claim}}
        volumes.append({"name": name, **source})
    if config.tls:
        mounts.append({"name": "tls", "mountPath": tls_folder, "readOnly": True})
        volumes.append({"name": "tls", "secret": {"secretName": config.tls.secret}})
    return mounts, volumes


def _metadata(config: KubernetesCluster) -> Object:
    return {"metadata": {"labels": dict(config.labels)}} if config.labels else {}


def _protocol(config: KubernetesCluster) -> str:
    return "tls" if config.tls else "tcp"


def _tls_options(config: KubernetesCluster) -> list[str]:
    if not config.tls:
        return []
    files = {"--tls-ca-file": "ca.crt", "--tls-cert": "tls.crt", "--tls-key": "tls.key"}
    return ["--protocol", "tls", *(part for key, file in files.items() for part in (key, f"{_TLS_FOLDER}/{file}"))]
