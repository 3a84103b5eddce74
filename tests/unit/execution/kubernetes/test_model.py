"""What a config may say of a cluster on Kubernetes, and what it is told about mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from radps.errors import ConfigError
from radps.execution.clusters import parse_cluster, planned_resources
from radps.execution.kubernetes.model import KubernetesCluster
from radps.workflows.reading import load_workflow

GIB = 2**30


def cluster(**changes: Any) -> KubernetesCluster:
    return KubernetesCluster(kind="kubernetes", image="radps:1", **changes)


def test_an_image_is_enough() -> None:
    found = parse_cluster({"kind": "kubernetes", "image": "radps:1"})
    assert found == cluster()
    assert (found.first_workers, found.threads, found.worker_memory_bytes) == (2, 1, 4 * GIB - 256 * 2**20)


def test_a_worker_runs_a_task_per_whole_core() -> None:
    assert [cluster(worker={"cpu": cpu}).threads for cpu in (0.5, 1, 1.5, 4)] == [1, 1, 1, 4]


def test_workers_that_adapt_start_with_the_fewest() -> None:
    assert cluster(adapt={"minimum": 3, "maximum": 30}).first_workers == 3


def test_the_plan_of_a_run_knows_its_slots_and_memory() -> None:
    config = cluster(workers=3, worker={"cpu": 2, "memory": "4.25 GiB"})
    resources = planned_resources(config)
    assert resources is not None
    assert (resources.slots, resources.memory_bytes) == (6, int((0.7 * 4 * GIB - 450 * 2**20) / 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 2, "adapt": {"maximum": 4}}, r"there are workers: 2 and adapt; remove one of both"),
        ({"adapt": {"minimum": 5, "maximum": 4}}, r"adapt from 5 to 4 workers: maximum has to be at least minimum"),
        ({"adapt": {}}, r"the cluster needs .adapt\.maximum."),
        ({"volumes": [{"mount": "/data"}]}, r"the volume at /data needs a claim or a source, one of both"),
        (
            {"volumes": [{"mount": "/data", "claim": "a", "source": {"emptyDir": {}}}]},
            r"the volume at /data needs a claim or a source, one of both",
        ),
        (
            {"volumes": [{"mount": "/data", "claim": "a"}, {"mount": "/data/", "claim": "b"}]},
            r"two volumes are mounted at /data; give each a path of its own",
        ),
        ({"init_containers": [{"image": "x"}]}, r"the init containers have the names \[None\]; give each a name of"),
        ({"env": {"MY-KEY": "1"}}, r"'MY-KEY' is no name of an environment variable"),
        ({"tolerations": [{"effect": "NoSchedule"}]}, r"without a key is for every taint; write operator: Exists"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, r"operator Exists has no value"),
        ({"namespace": "Radio_Data"}, r"namespace of the cluster"),
        ({"worker": {"memory": "100 MB"}}, r"worker\.memory of the cluster"),
        ({"idle_timeout": 0}, r"idle_timeout of the cluster"),
        ({"imagee": "x"}, r"did you mean 'image'"),
    ],
)
def test_the_check_of_a_config_finds_its_mistakes(changes: dict[str, Any], message: str) -> None:
    config = {
        "run": "s3://bucket/run",
        "cluster": {"kind": "kubernetes", "image": "radps:1", **changes},
        "steps": [{"import_data": {}}],
        "data": {"path": "s3://bucket/data.ms"},
    }
    with pytest.raises(ConfigError, match=message):
        load_workflow(config)
