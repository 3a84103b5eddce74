"""The rights of a driver: asked for at once, and the same as those of the Role that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from radps.errors import ClusterError
from radps.execution.kubernetes.model import KubernetesCluster

pytest.importorskip("kr8s", reason="comes with radps[kubernetes]")
from radps.execution.kubernetes.rights import ALWAYS, TO_ADAPT, TO_EXPLAIN, TO_FORWARD, check_rights

ROLE = Path(__file__).parents[4] / "configs" / "kubernetes" / "rbac.yaml"


class Strict:
    """A Kubernetes that allows some things."""

    namespace = "radio"

    def __init__(self, *refused: str) -> None:
        self.refused = refused

    def may(self, verb: str, resource: str, group: str = "") -> bool:
        """Return True unless the kind is refused."""
        return resource not in self.refused


def config(**fields: Any) -> KubernetesCluster:
    return KubernetesCluster.model_validate({"kind": "kubernetes", "image": "radps:1", "workers": 1, **fields})


def test_the_shipped_role_has_these_rights_and_no_others() -> None:
    (role,) = (one for one in yaml.safe_load_all(ROLE.read_text()) if one["kind"] == "Role")
    shipped = [
        (verb, resource, group)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert sorted(shipped) == sorted(ALWAYS + TO_ADAPT + TO_FORWARD + TO_EXPLAIN)


def test_all_that_is_missing_is_named_at_once() -> None:
    api: Any = Strict("daskclusters", "pods/portforward")
    message = (
        r"does not let this driver create daskclusters\.kubernetes\.dask\.org, get daskclusters\S+, delete "
        r"daskclusters\S+, get pods/portforward, create pods/portforward in namespace 'radio'; give it the Role"
    )
    with pytest.raises(ClusterError, match=message):
        check_rights(api, config(), forwards=True)


def test_what_a_run_does_not_need_is_not_asked_for() -> None:
    api: Any = Strict("daskautoscalers", "services", "pods/portforward", "events")
    check_rights(api, config(), forwards=False)
    with pytest.raises(ClusterError, match="create daskautoscalers"):
        check_rights(api, config(workers=None, adapt={"minimum": 1, "maximum": 2}), forwards=False)
