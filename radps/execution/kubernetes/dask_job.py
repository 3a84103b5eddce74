"""The driver of a run as a DaskJob: Dask's operator makes the cluster beside the driver's pod, and deletes it after it.

The driver then talks to the scheduler alone, and needs no rights in Kubernetes. What it has no rights for it cannot do:
change the number of workers, or start another cluster when the scheduler's pod is lost.
"""

from __future__ import annotations

import json

from radps.errors import ClusterError
from radps.execution.kubernetes.driver import driver_labels, driver_pod
from radps.execution.kubernetes.model import KubernetesCluster
from radps.execution.kubernetes.objects import (
    API_VERSION,
    Object,
    cluster_pods,
    make_variables,
    scheduler_address,
)


def dask_job(cluster: KubernetesCluster, name: str, allowed_failures: int) -> Object:
    """Return the DaskJob of a run.

    Parameters
    ----------
    cluster : KubernetesCluster
        Of the config.
    name : str
        Of :func:`radps.execution.kubernetes.driver.driver_name`; its cluster has the same.
    allowed_failures : int
        How many workers a task may take with it before it is given up.

    Raises
    ------
    ClusterError
        The config asks for workers that come and go.
    """
    if cluster.adapt is not None:
        raise ClusterError(
            "a DaskJob has as many workers at the end as at the start, and the config says cluster.adapt; "
            "give cluster.workers instead, or use the Job (without --dask-job)"
        )
    address = scheduler_address(cluster, name)
    # In place of the config's cluster. The scheduler starts at the same time as the driver, which waits for it.
    place = {"kind": "address", "address": address, "timeout": cluster.start_timeout}
    pod = driver_pod(cluster, name, ["--set", f"cluster={json.dumps(place)}"])
    pod["automountServiceAccountToken"] = False  # it does not talk to Kubernetes
    pod["containers"][0]["env"] += make_variables({"DASK_SCHEDULER_ADDRESS": address, **_certificates(cluster)})
    return {
        "apiVersion": API_VERSION,
        "kind": "DaskJob",
        "spec": {
            "job": {"metadata": {"labels": {**cluster.labels, **driver_labels(name)}}, "spec": pod},
            "cluster": {"spec": cluster_pods(cluster, name, address, allowed_failures)},
        },
    }


def _certificates(cluster: KubernetesCluster) -> dict[str, str]:
    """Return what tells a client of dask, which knows only an address, where its certificates are."""
    if cluster.tls is None:
        return {}
    files = {"CA_FILE": "ca.crt", "CLIENT__CERT": "tls.crt", "CLIENT__KEY": "tls.key"}
    made = {f"DASK_DISTRIBUTED__COMM__TLS__{key}": f"{cluster.tls.folder}/{file}" for key, file in files.items()}
    return {**made, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
