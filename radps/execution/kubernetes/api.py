"""The calls of Kubernetes' API that a driver makes, each of which ends in an answer or a ClusterError."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import httpx
import kr8s
from kr8s.objects import APIObject, Event, Pod, Service, new_class

from radps.errors import ClusterError
from radps.execution.kubernetes.objects import API_VERSION, CLUSTER_LABEL, Object

logger = logging.getLogger(__name__)

_FAILURES = (kr8s.ServerError, kr8s.APITimeoutError, kr8s.ConnectionClosedError, httpx.HTTPError, OSError)


class KubernetesApi:
    """Kubernetes as the driver sees it, in one namespace.

    Parameters
    ----------
    namespace : str, optional
        Default: that of the driver's pod, or of the current context of kubectl.

    Raises
    ------
    ClusterError
        There are no credentials, or nobody answers.
    """

    def __init__(self, namespace: str | None = None) -> None:
        try:
            self._api = kr8s.api(namespace=namespace)
            self._api.version()
        except (ValueError, TypeError, KeyError, *_FAILURES) as error:
            raise ClusterError(
                f"cannot reach Kubernetes ({type(error).__name__}: {error}); check that `kubectl get pods` works here "
                "(KUBECONFIG, the current context), or that the driver's pod has a service account"
            ) from error
        self.namespace: str = namespace or self._api.namespace

    def create(self, spec: Object) -> Object:
        """Create an object, and return it as Kubernetes made it.

        Raises
        ------
        ClusterError
            Kubernetes refuses it: it does not know the kind, or the driver may not.
        """
        with self._explained(f"create {spec['kind']} {spec['metadata'].get('name', '')}".strip()):
            made = self._object(spec)
            made.create()
            return dict(made.raw)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object of Dask's operator; one that is gone is deleted.

        Raises
        ------
        ClusterError
            Kubernetes does not do it.
        """
        with self._explained(f"delete {kind} {name}"), contextlib.suppress(kr8s.NotFoundError):
            self._object({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}}).delete()

    def may(self, verb: str, resource: str, group: str = "") -> bool:
        """Return True if this driver may do something to the objects of a kind in the namespace, or nobody knows."""
        plural, _, part = resource.partition("/")
        wanted = {"namespace": self.namespace, "verb": verb, "group": group, "resource": plural, "subresource": part}
        spec = {"metadata": {}, "spec": {"resourceAttributes": wanted}}
        kind = new_class("SelfSubjectAccessReview", "authorization.k8s.io/v1", namespaced=False, asyncio=False)
        try:
            with self._explained("create selfsubjectaccessreviews"):
                review = kind(spec, api=self._api)
                review.create()
        except ClusterError:  # some clusters allow nobody to ask
            logger.info("cannot ask Kubernetes what is allowed", exc_info=True)
            return True
        return bool(review.raw["status"]["allowed"])

    def phase(self, name: str) -> str:
        """Return what the operator says of a cluster; empty if it has not seen it."""
        with self._explained(f"get DaskCluster {name}"):
            found = self._object({"apiVersion": API_VERSION, "kind": "DaskCluster", "metadata": {"name": name}})
            found.refresh()
            return str(found.raw.get("status", {}).get("phase", ""))

    def pods(self, name: str) -> list[Object]:
        """Return the pods of a cluster."""
        with self._explained("list pods"):
            selector = f"{CLUSTER_LABEL}={name}"
            return [dict(pod.raw) for pod in Pod.list(namespace=self.namespace, label_selector=selector, api=self._api)]

    def events(self, name: str) -> list[Object]:
        """Return what Kubernetes has noted of the objects of a cluster; nothing if the driver may not read it."""
        try:
            with self._explained("list events"):
                events = [dict(event.raw) for event in Event.list(namespace=self.namespace, api=self._api)]
        except ClusterError:
            logger.info("cannot read the events of Kubernetes", exc_info=True)
            return []
        return [event for event in events if str(event["involvedObject"].get("name", "")).startswith(name)]

    @contextlib.contextmanager
    def forward(self, service: str, port: int) -> Iterator[int]:
        """Make a port of a service reachable on this machine in the block; yields the local port.

        While there is no pod behind it, connections are closed at once.

        Raises
        ------
        ClusterError
            There is no such service.
        """
        with self._explained(f"forward port {port} of service {service}"):
            found = Service.get(service, namespace=self.namespace, api=self._api)
            forwarding = found.portforward(port, local_port=_free_port())
        quiet = _QuietForwarding()
        logging.getLogger("asyncio").addFilter(quiet)
        forwarding.start()
        try:
            yield int(forwarding.local_port)
        finally:
            forwarding.stop()
            logging.getLogger("asyncio").removeFilter(quiet)

    def _object(self, spec: Object) -> APIObject:
        """Return an object of Kubernetes in the namespace."""
        kind = new_class(spec["kind"], spec["apiVersion"], asyncio=False)
        return kind(spec, namespace=self.namespace, api=self._api)

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Say in words what Kubernetes refused in the block."""
        try:
            yield
        except kr8s.ServerError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == 404 and "namespaces" in str(error):
                raise ClusterError(
                    f"Kubernetes has no namespace {self.namespace!r} ({error}); create it "
                    f"(`kubectl create namespace {self.namespace}`), or correct cluster.namespace"
                ) from error
            if status == 404 and what.startswith("create Dask"):
                raise ClusterError(
                    "this Kubernetes does not know Dask's objects (DaskCluster); install Dask's operator: "
                    "docs/kubernetes.md says how"
                ) from error
            if status == 403:
                raise ClusterError(
                    f"Kubernetes does not let this driver {what} in namespace {self.namespace!r}: {error}; give it the "
                    "Role of configs/kubernetes/rbac.yaml"
                ) from error
            raise ClusterError(f"Kubernetes refused to {what} in namespace {self.namespace!r}: {error}") from error
        except (kr8s.NotFoundError, *_FAILURES) as error:
            raise ClusterError(
                f"cannot {what} in namespace {self.namespace!r} of Kubernetes: {type(error).__name__}: {error}"
            ) from error


def _free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _QuietForwarding(logging.Filter):
    """Drops what asyncio says, with a traceback, of each connection that finds no pod behind a forwarded port."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for these."""
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, RuntimeError) and "No ready pods found" in str(error))
