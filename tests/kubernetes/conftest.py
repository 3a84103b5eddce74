"""Fixtures of the tests that make pods.

=======================  =======================================================================================
``KUBECONFIG``           the cluster; Dask's operator runs on it
``RADPS_TEST_IMAGE``     an image with radps, default ``radps:test``; the nodes have it
``RADPS_TEST_MOUNT``     where to mount this checkout's ``radps`` in the pods, over that of an older image: the
                         ``site-packages/radps`` of the image. Default: the image is up to date
=======================  =======================================================================================

The only node sees the folders of this machine, as with kind and an extra mount.
"""

from __future__ import annotations

import gc
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import radps
from radps.context.records import StepState
from radps.errors import ClusterError, RadpsError
from radps.execution.clusters import open_engine, parse_cluster


class Place(NamedTuple):
    """A namespace of its own, and a folder that pods and tests see at the same path."""

    namespace: str
    folder: Path
    image: str

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """Return what kubectl says in the namespace."""
        command = ["kubectl", "--namespace", self.namespace, *words]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=120).stdout

    def wait_for(self, what: str, seconds: float, is_so: Callable[[], object]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, what
            time.sleep(0.5)

    def start_driver(self, config: Path, **environment: str) -> subprocess.Popen[str]:
        """Start `radps-run` on a config, outside of the cluster."""
        command = [sys.executable, "-W", "ignore", "-m", "radps", "run", str(config), "--quiet"]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )

    def is_done(self, run: Path, step: str) -> bool:
        """Return True if a step of a run is done."""
        try:
            return radps.open_run(str(run)).context.steps[step].state is StepState.DONE
        except (RadpsError, KeyError):
            return False

    def volumes(self) -> list[dict[str, Any]]:
        """Return what all pods mount, as the config writes it."""
        mounts = [{"mount": str(self.folder), "source": {"hostPath": {"path": str(self.folder)}}}]
        if mount := os.environ.get("RADPS_TEST_MOUNT"):
            code = str(Path(radps.__file__).parent)
            mounts.append({"mount": mount, "source": {"hostPath": {"path": code}}, "read_only": True})
        return mounts

    def cluster(self, **fields: Any) -> dict[str, Any]:
        """Return a small cluster as the config writes it."""
        small = {"cpu": 0.2, "memory": "1 GiB"}
        return {
            "kind": "kubernetes",
            "image": self.image,
            "namespace": self.namespace,
            "workers": 1,
            "worker": small,
            "scheduler": small,
            "volumes": self.volumes(),
            **fields,
        }

    def refusal(self, run: str = "", **changes: Any) -> tuple[str, float]:
        """Return why a cluster is not ready for a run, and after how long that was known [s]."""
        start = time.monotonic()
        with pytest.raises(ClusterError) as error, open_engine(parse_cluster(self.cluster(**changes)), run):
            pass
        return str(error.value), time.monotonic() - start

    def start_pod(self, name: str, *command: str, service_account: str = "default") -> None:
        """Start a pod that runs a command of the image once."""
        volumes = self.volumes()
        spec = {
            "restartPolicy": "Never",
            "serviceAccountName": service_account,
            "containers": [
                {
                    "name": "main",
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(command),
                    "volumeMounts": [
                        {"name": f"v{number}", "mountPath": volume["mount"], "readOnly": "read_only" in volume}
                        for number, volume in enumerate(volumes)
                    ],
                }
            ],
            "volumes": [{"name": f"v{number}", **volume["source"]} for number, volume in enumerate(volumes)],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        self.kubectl("apply", "-f", "-", text=json.dumps(pod))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A new namespace; the tests are skipped, with the reason, where there is no Kubernetes."""
    if not os.environ.get("KUBECONFIG") or shutil.which("kubectl") is None:
        pytest.skip("no Kubernetes: set KUBECONFIG to a cluster with Dask's operator, and put kubectl on the PATH")
    umask = os.umask(0)  # pods run as somebody else
    folder = tmp_path_factory.mktemp("shared")
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o777)
    image = os.environ.get("RADPS_TEST_IMAGE", "radps:test")
    made = Place(f"radps-test-{secrets.token_hex(3)}", folder, image)
    made.kubectl("create", "namespace", made.namespace)
    yield made
    made.kubectl("delete", "namespace", made.namespace, "--wait=false")
    os.umask(umask)
    gc.collect()  # connections that kr8s has left open are told of here, where the tests do not count them


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pass what kr8s says of old servers and leaves to the garbage collector, and dask of patches of Python."""
    for item in items:
        if "kubernetes" in item.keywords:
            for what in (
                "UserWarning",
                "distributed.versions.VersionMismatchWarning",
                "ResourceWarning",
                "pytest.PytestUnraisableExceptionWarning",
            ):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{what}"))
