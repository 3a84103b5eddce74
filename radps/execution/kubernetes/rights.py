"""What a driver has to be allowed in its namespace, all of it asked for before anything is made."""

from __future__ import annotations

from typing import NamedTuple

from radps.errors import ClusterError
from radps.execution.kubernetes.api import KubernetesApi
from radps.execution.kubernetes.model import KubernetesCluster
from radps.execution.kubernetes.objects import API_GROUP


class Right(NamedTuple):
    """One verb on one kind of object."""

    verb: str
    resource: str
    """Plural, with its part: ``pods/portforward``."""
    group: str = ""

    def __str__(self) -> str:
        """Return it as Kubernetes says it in its own refusals."""
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


ALWAYS = (
    *(Right(verb, "daskclusters", API_GROUP) for verb in ("create", "get", "delete")),
    Right("list", "pods"),
)
TO_ADAPT = tuple(Right(verb, "daskautoscalers", API_GROUP) for verb in ("create", "delete"))
TO_FORWARD = (Right("get", "services"), *(Right(verb, "pods/portforward") for verb in ("get", "create")))
TO_EXPLAIN = (Right("list", "events"),)
"""Without these a driver works, and knows less about what is wrong."""


def check_rights(api: KubernetesApi, config: KubernetesCluster, *, forwards: bool) -> None:
    """Ask Kubernetes whether this driver may do all that it will do.

    Parameters
    ----------
    api : KubernetesApi
        Knows the namespace.
    config : KubernetesCluster
        Of the config.
    forwards : bool
        The scheduler is reached by a port-forward.

    Raises
    ------
    ClusterError
        Names all that is missing.
    """
    needed = ALWAYS + TO_ADAPT * (config.adapt is not None) + TO_FORWARD * forwards
    if missing := [str(right) for right in needed if not api.may(*right)]:
        raise ClusterError(
            f"Kubernetes does not let this driver {', '.join(missing)} in namespace {api.namespace!r}; give it the "
            f"Role of configs/kubernetes/rbac.yaml (`kubectl apply --namespace {api.namespace} -f ...`), or correct "
            "cluster.namespace"
        )
