"""What a run asks of an object store: requests and bytes of a task, a channel and a tile of a cube.

Every request of this process to an S3 server is counted where it leaves botocore. Two runs that differ in one number
give what one more of it costs. Run on demand::

    pytest tests/benchmarks/bench_requests.py -s
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from aiobotocore.client import AioBaseClient

import radps
from radps.data import images
from radps.data.demo_observation import demo_observation

IMAGE_SIZE = 96
CUBE = {"image_size": IMAGE_SIZE, "cell_size": "20 arcsec", "max_iterations": 20, "max_cycles": 2}


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Requests so far, by what is asked."""
    counted: Counter[str] = Counter()
    call = AioBaseClient._make_api_call

    async def count(client: AioBaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        counted[operation] += 1
        counted["bytes put"] += len(parameters.get("Body") or b"")
        return await call(client, operation, parameters)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", count)
    return counted


def difference(measure: Callable[[int], Counter[str]], few: int, many: int) -> dict[str, float]:
    """Return what one more costs."""
    low, high = measure(few), measure(many)
    return {name: (high[name] - low[name]) / (many - few) for name in sorted(high | low)}


def show(what: str, cost: dict[str, float]) -> None:
    """Print a line."""
    print(f"\n{what}: " + ", ".join(f"{name} {number:.1f}" for name, number in cost.items() if number))


def test_requests_of_a_task(object_store: Any, user_stages: str, requests: Counter[str]) -> None:
    def measure(tasks: int) -> Counter[str]:
        requests.clear()
        stage = {f"{user_stages}:sleeps": {"n": tasks, "seconds": 0.0}}
        radps.run({"run": f"{object_store.new_bucket()}/run", "cluster": "none", "steps": [stage]}, progress=False)
        return Counter(requests)

    measure(1)
    cost = difference(measure, 10, 110)
    show("one task, with its part of the tree", cost)
    assert cost["PutObject"] < 2


@pytest.fixture(scope="module")
def calibrated(object_store: Any) -> radps.Run:
    """A run in a bucket up to its calibrated data."""
    steps: list[Any] = [{"simulate": {"observation": demo_observation("tiny").model_dump(mode="json")}}]
    steps += ["import_data", "set_model", "calibrate", "apply_calibration", {"image_cube": CUBE}]
    config = {"run": f"{object_store.new_bucket()}/run", "cluster": "none", "steps": steps}
    return radps.run(config, until="apply_calibration", progress=False)


@pytest.mark.parametrize("tiles", [1, 4])
def test_requests_of_a_channel(
    calibrated: radps.Run, requests: Counter[str], monkeypatch: pytest.MonkeyPatch, tiles: int
) -> None:
    monkeypatch.setattr(images, "TILE_PIXELS", IMAGE_SIZE // round(tiles**0.5))

    def measure(channels: int) -> Counter[str]:
        requests.clear()
        calibrated.step("image_cube", channels=f"4~{3 + channels}")
        return Counter(requests)

    cost = difference(measure, 2, 6)
    show(f"one channel of a cube, {tiles} tiles a plane", cost)
    assert cost["PutObject"] < 20 * tiles
