"""The driver of a run as objects of Kubernetes: a Job, its config, and new storage if that is asked for.

The names do not change between calls, so that what was applied can be deleted by the same command. A Job that is
deleted and created again goes on with the run: the run folder knows what is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from radps.data.urls import is_local
from radps.errors import ClusterError
from radps.execution.kubernetes.model import KubernetesCluster
from radps.execution.kubernetes.objects import Object, make_pod, make_variables, readable_name

SERVICE_ACCOUNT = "radps-driver"
"""Of configs/kubernetes/rbac.yaml."""

_CONFIG_FOLDER = "/etc/radps"
_MOST_OF_A_NAME = 31
"""Characters of the config's name: with what the operator adds for a worker of a DaskJob, 63."""
_RETRIES = 3
"""For pods that are lost with their node; a run that has failed is not started again."""
_EXIT_CODES_THAT_STAY = [1, 2]
"""A step has failed, the config is wrong: the same command would say the same again."""
_GRACE_S = 60
"""Until a driver that was asked to stop has deleted its cluster."""


def driver_name(config_name: str) -> str:
    """Return the name of a run's objects.

    Parameters
    ----------
    config_name : str
        File name of the config without its ending; what Kubernetes does not allow in names is replaced.
    """
    return f"radps-{readable_name(config_name, _MOST_OF_A_NAME) or 'run'}"


def check_run_folder(cluster: KubernetesCluster, run_url: str) -> None:
    """Check that the run folder outlives the pod of the driver.

    Raises
    ------
    ClusterError
        It is a folder of the pod itself.
    """
    if not is_local(run_url):
        return
    mounts = [volume.mount for volume in cluster.volumes if not volume.read_only]
    if not any(PurePosixPath(run_url).is_relative_to(mount) for mount in mounts):
        raise ClusterError(
            f"the run folder {run_url} is on no volume that the pods can write to "
            f"({', '.join(mounts) or 'cluster.volumes has none'}), and would be lost with the driver's pod; "
            "use a folder on such a volume, or an object store (s3://...)"
        )


def driver_objects(
    cluster: KubernetesCluster,
    name: str,
    config_text: str,
    job: Object,
    *,
    claim_size: str | None = None,
    storage_class: str | None = None,
) -> list[Object]:
    """Return the objects of a run: new claims, a ConfigMap with the config, what runs the driver.

    Parameters
    ----------
    cluster : KubernetesCluster
        Of the config.
    name : str
        Of :func:`driver_name`.
    config_text : str
        The config as it was written.
    job : dict
        Of :func:`driver_job` or :func:`radps.execution.kubernetes.dask_job.dask_job`.
    claim_size : str, optional
        Of each claim of the cluster's volumes, as Kubernetes writes it (``100Gi``); default: the claims are there.
    storage_class : str, optional
        Of new claims; default: that of the cluster.
    """
    claims = [volume.claim for volume in cluster.volumes if volume.claim is not None]
    made = _claims(dict.fromkeys(claims), claim_size, storage_class) if claim_size else []
    made.append({"apiVersion": "v1", "kind": "ConfigMap", "data": {"config.yaml": config_text}})
    made.append(job)
    labels = driver_labels(name)
    namespace = {"namespace": cluster.namespace} if cluster.namespace else {}
    for each in made:
        each["metadata"] = {"name": name, **each.get("metadata", {}), **namespace, "labels": labels}
    return made


def driver_labels(name: str) -> dict[str, str]:
    """Return the labels of a run's objects."""
    return {"app.kubernetes.io/name": "radps", "app.kubernetes.io/instance": name}


def _claims(names: Iterable[str], size: str, storage_class: str | None) -> list[Object]:
    spec: Object = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    return [{**kind, "metadata": {"name": name}, "spec": dict(spec)} for name in names]


def driver_job(cluster: KubernetesCluster, name: str, service_account: str = SERVICE_ACCOUNT) -> Object:
    """Return the Job of a driver that makes its cluster itself.

    Parameters
    ----------
    cluster : KubernetesCluster
        Of the config.
    name : str
        Of :func:`driver_name`.
    service_account : str
        With the rights of a driver.
    """
    lasting = {"containerName": "driver", "operator": "In", "values": _EXIT_CODES_THAT_STAY}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {
            "backoffLimit": _RETRIES,
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": lasting}]},
            "template": {
                "metadata": {"labels": {**cluster.labels, **driver_labels(name)}},
                "spec": {**driver_pod(cluster, name), "serviceAccountName": service_account},
            },
        },
    }


def driver_pod(cluster: KubernetesCluster, name: str, options: Sequence[str] = ()) -> Object:
    """Return the pod of a driver, on the nodes of the scheduler.

    Parameters
    ----------
    cluster : KubernetesCluster
        Of the config.
    name : str
        Of :func:`driver_name`.
    options : sequence of str
        Of the command that runs the config.
    """
    container: Object = {
        "name": "driver",
        "command": ["radps-run", "run", f"{_CONFIG_FOLDER}/config.yaml", "--quiet", *options],
        "env": make_variables(cluster.env),
        # The driver plans and waits; it holds no data.
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    }
    pod = make_pod(cluster, cluster.scheduler, container, cluster.tls.folder if cluster.tls else "")
    container["volumeMounts"].append({"name": "config", "mountPath": _CONFIG_FOLDER, "readOnly": True})
    pod["volumes"].append({"name": "config", "configMap": {"name": name}})
    return {
        **pod,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_S,
    }
