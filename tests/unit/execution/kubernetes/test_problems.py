"""What is said of pods that do not start."""

from __future__ import annotations

from typing import Any

import pytest

from radps.execution.kubernetes.problems import describe_pods, find_problems

UNPLACED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient cpu.",
}


def pod(phase: str = "Pending", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x-scheduler-1"}, "status": {"phase": phase, **status}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"containerStatuses": [{"image": "radps:9", "state": {"waiting": {"reason": reason, "message": message}}}]}


def event(reason: str, message: str, name: str = "x-scheduler-1", kind: str = "Pod") -> dict[str, Any]:
    return {"reason": reason, "message": message, "involvedObject": {"kind": kind, "name": name}}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            waiting("ImagePullBackOff", "Back-off"),
            "pod x-scheduler-1 cannot get its image 'radps:9' (ImagePullBackOff: Back-off); check cluster.image and, "
            "for a private registry, cluster.image_pull_secrets",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "keys" not found'),
            'pod x-scheduler-1 cannot start (CreateContainerConfigError: secret "keys" not found); check '
            "cluster.secrets, cluster.user and that the image has a `dask` command",
        ),
        (
            {"conditions": [UNPLACED]},
            "no node takes pod x-scheduler-1: 0/1 nodes are available: 1 Insufficient cpu.; ask for less cpu and "
            "memory (cluster.worker, cluster.scheduler), for other nodes (node_selector, tolerations), or for fewer "
            "workers",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    }
                ]
            },
            "the process of pod x-scheduler-1 ended with exit code 137 (OOMKilled); see `kubectl logs x-scheduler-1 "
            "--previous`",
        ),
        (
            {
                "initContainerStatuses": [
                    {
                        "name": "git-sync",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
                    }
                ],
                **waiting("PodInitializing"),
            },
            "the process of pod x-scheduler-1 ended with exit code 1 (Error); see `kubectl logs x-scheduler-1 "
            "--container git-sync --previous`",
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"},
            "pod x-scheduler-1 failed: the node was low on memory",
        ),
    ],
    ids=["image", "secret", "node", "crash", "init", "evicted"],
)
def test_a_pod_that_does_not_start_says_why(status: dict[str, Any], message: str) -> None:
    phase = status.pop("phase", "Pending")
    assert find_problems([pod(phase, **status)], []) == [message]


@pytest.mark.parametrize("status", [{}, waiting("ContainerCreating"), waiting("PodInitializing")])
def test_a_pod_that_is_starting_has_no_problem(status: dict[str, Any]) -> None:
    assert find_problems([pod(**status)], [event("Pulling", "pulling"), event("Scheduled", "on node")]) == []


def test_a_node_that_is_being_started_is_waited_for() -> None:
    assert find_problems([pod(conditions=[UNPLACED])], [event("TriggeredScaleUp", "pool 1 -> 2")]) == []


def test_a_quota_is_named_once_with_what_to_do() -> None:
    text = 'pods "x-1" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2'
    events = [event("FailedCreate", text, "x-default-worker-1", "ReplicaSet")] * 2
    assert find_problems([], events) == [
        f"ReplicaSet x-default-worker-1: {text}; ask for fewer or smaller workers, or for a larger quota of the "
        "namespace"
    ]


def test_a_volume_that_is_missing_is_named_until_the_pod_runs() -> None:
    events = [event("FailedMount", 'persistentvolumeclaim "data" not found')]
    (message,) = find_problems([pod()], events)
    assert message.endswith('"data" not found; check cluster.volumes and cluster.tls')
    assert find_problems([pod("Running")], events) == []


def test_pods_are_described_by_their_state() -> None:
    assert describe_pods([pod(), pod("Running")]) == "x-scheduler-1 Pending, x-scheduler-1 Running"
    assert describe_pods([]) == "no pods"
