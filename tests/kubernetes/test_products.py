"""Images and FITS files that pods make, on a shared volume and in a bucket: those of one process, to the bit."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml

import radps
from radps.data.demo_observation import demo_observation

pytestmark = pytest.mark.kubernetes

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
REGION = {"AWS_DEFAULT_REGION": "us-east-1"}
IMAGE = {"image_size": 64, "cell_size": "8 arcsec", "max_iterations": 30}


def products_config(run: str, cluster: Any) -> dict[str, Any]:
    """Return a workflow from raw data to FITS files."""
    steps = [
        {"simulate": {"observation": demo_observation("tiny").model_dump(mode="json")}},
        "import_data",
        "set_model",
        {"calibrate": {"gain_channels": "2~12"}},
        "apply_calibration",
        {"image_cube": {**IMAGE, "channels": "0~3"}},
        "export",
    ]
    return {"run": run, "cluster": cluster, "steps": steps}


def run_driver(place: Any, config: Path, **environment: str) -> None:
    """Run a config by the command line, to its end."""
    driver = place.start_driver(config, **environment)
    text, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, text


@pytest.fixture(scope="module")
def expected(place: Any) -> dict[str, bytes]:
    """The FITS files of one process."""
    folder = place.folder / "products-here"
    radps.run(products_config(str(folder), "none"), progress=False)
    files = {path.name: path.read_bytes() for path in (folder / "products").rglob("*.fits")}
    assert len(files) >= 1
    return files


@pytest.fixture
def bucket(place: Any) -> Iterator[dict[str, str]]:
    """An S3 server in a pod, at a port of the node; yields the environment with its address."""
    serve = (
        "import time\nfrom moto.server import ThreadedMotoServer\n"
        "ThreadedMotoServer(ip_address='0.0.0.0', port=5000).start()\ntime.sleep(86400)"
    )
    place.start_pod("s3", "python", "-c", serve)
    place.kubectl("label", "pod", "s3", "app=s3")
    ports = {"selector": {"app": "s3"}, "type": "NodePort", "ports": [{"port": 5000}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s3"}, "spec": ports}
    place.kubectl("apply", "-f", "-", text=json.dumps(service))
    place.kubectl("wait", "pod/s3", "--for=condition=Ready", "--timeout=90s")
    node = place.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}")
    port = place.kubectl("get", "service", "s3", "-o", "jsonpath={.spec.ports[0].nodePort}")
    keys = [f"--from-literal={name}={value}" for name, value in KEYS.items()]
    place.kubectl("create", "secret", "generic", "s3-keys", *keys)
    yield {"AWS_ENDPOINT_URL": f"http://{node}:{port}", **REGION}
    place.kubectl("delete", "pod/s3", "service/s3", "secret/s3-keys", "--wait=false")


def test_products_on_a_shared_volume_are_those_of_one_process(place: Any, expected: dict[str, bytes]) -> None:
    run, config = place.folder / "products-volume", place.folder / "volume.yaml"
    config.write_text(yaml.safe_dump(products_config(str(run), place.cluster(workers=2))))
    run_driver(place, config)
    assert {path.name: path.read_bytes() for path in (run / "products").rglob("*.fits")} == expected


@pytest.mark.slow
def test_products_in_a_bucket_are_those_of_one_process(
    place: Any, expected: dict[str, bytes], bucket: dict[str, str]
) -> None:
    store = fsspec.filesystem(
        "s3",
        key=KEYS["AWS_ACCESS_KEY_ID"],
        secret=KEYS["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=bucket["AWS_ENDPOINT_URL"],
    )

    def makes_bucket() -> bool:
        with contextlib.suppress(OSError):  # the server is there a little after its pod
            store.mkdir("radps")
            return True
        return False

    place.wait_for("the server is there", 60, makes_bucket)
    config = place.folder / "bucket.yaml"
    cluster = place.cluster(workers=1, env=bucket, secrets=["s3-keys"])
    config.write_text(yaml.safe_dump(products_config("s3://radps/run", cluster)))
    run_driver(place, config, **bucket, **KEYS)
    files = {path.rpartition("/")[2]: store.cat_file(path) for path in store.find("radps/run/products")}
    assert {name: content for name, content in files.items() if name.endswith(".fits")} == expected
