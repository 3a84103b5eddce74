"""Why pods do not start: what Kubernetes says of them, read as a person would.

Works on objects as Kubernetes' API returns them (mappings of plain data).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_NOT_CONFIGURED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_EVENTS = ("FailedCreate", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "ProvisioningFailed")
_NODES_ARE_COMING = "TriggeredScaleUp"

Object = Mapping[str, Any]


def find_problems(pods: Sequence[Object], events: Sequence[Object]) -> list[str]:
    """Return what keeps pods from running: one sentence each, with what to do.

    Parameters
    ----------
    pods : sequence of mapping
        The pods of a cluster.
    events : sequence of mapping
        Events of the namespace; those of other objects are not to be among them.

    Notes
    -----
    A pod for which there is no node is no problem while Kubernetes' own autoscaler starts one. Each of these states may
    pass by itself; who reads them decides how long to wait.
    """
    coming = {_about(event) for event in events if event.get("reason") == _NODES_ARE_COMING}
    found = [problem for pod in pods for problem in _of_pod(pod, coming)]
    running = {_name(pod) for pod in pods if pod.get("status", {}).get("phase") == "Running"}
    for event in events:
        if event.get("reason") in _EVENTS and _about(event) not in running:
            found.append(_of_event(event))
    return list(dict.fromkeys(found))


def describe_pods(pods: Sequence[Object]) -> str:
    """Return the states of pods in words."""
    states = [f"{_name(pod)} {pod.get('status', {}).get('phase', 'Unknown')}" for pod in pods]
    return ", ".join(states) or "no pods"


def _of_pod(pod: Object, coming: set[str]) -> Iterator[str]:
    """Yield what is wrong with one pod."""
    name, status = _name(pod), pod.get("status", {})
    for condition in status.get("conditions", ()):
        unplaced = condition.get("type") == "PodScheduled" and condition.get("status") == "False"
        if unplaced and condition.get("reason") == "Unschedulable" and name not in coming:
            yield (
                f"no node takes pod {name}: {condition.get('message', 'no reason given')}; ask for less cpu and memory "
                "(cluster.worker, cluster.scheduler), for other nodes (node_selector, tolerations), or for fewer "
                "workers"
            )
    if status.get("phase") == "Failed":
        yield f"pod {name} failed: {status.get('message') or status.get('reason') or 'no reason given'}"
    for container in status.get("initContainerStatuses", ()):
        yield from _of_container(name, container, f"{name} --container {container['name']}")
    for container in status.get("containerStatuses", ()):
        yield from _of_container(name, container, name)


def _of_container(pod: str, container: Object, logs: str) -> Iterator[str]:
    """Yield what is wrong with a container of a pod, whose output is found by ``kubectl logs`` and a text."""
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
    if reason in _NO_IMAGE:
        yield (
            f"pod {pod} cannot get its image {container.get('image', '')!r} ({reason}: {message}); check cluster.image "
            "and, for a private registry, cluster.image_pull_secrets"
        )
    elif reason in _NOT_CONFIGURED:
        yield (
            f"pod {pod} cannot start ({reason}: {message}); check cluster.secrets, cluster.user and that the image has "
            "a `dask` command"
        )
    elif ended and ended.get("exitCode") and (reason == "CrashLoopBackOff" or "terminated" in container["state"]):
        yield (
            f"the process of pod {pod} ended with exit code {ended['exitCode']} ({ended.get('reason', 'Error')}); "
            f"see `kubectl logs {logs} --previous`"
        )


def _of_event(event: Object) -> str:
    """Return what an event says, with what to do."""
    about = event.get("involvedObject", {})
    text = f"{about.get('kind', 'object')} {about.get('name', '')}: {event.get('message', '').strip()}"
    if "exceeded quota" in text:
        return f"{text}; ask for fewer or smaller workers, or for a larger quota of the namespace"
    if event.get("reason") in ("FailedMount", "FailedAttachVolume", "ProvisioningFailed"):
        return f"{text}; check cluster.volumes and cluster.tls"
    return f"{text} ({event.get('reason')})"


def _about(event: Object) -> str:
    return str(event.get("involvedObject", {}).get("name", ""))


def _name(pod: Object) -> str:
    return str(pod.get("metadata", {}).get("name", "?"))
