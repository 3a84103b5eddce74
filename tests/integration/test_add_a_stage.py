"""The examples of docs/add-a-stage.md work as they are written, and the names on the page are there."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import radps
from radps.api import Run
from radps.data.images import load_planes
from radps.data.visibilities import load_visibilities

DOCUMENT = Path(__file__).parents[2] / "docs" / "add-a-stage.md"


def read_blocks(language: str) -> list[str]:
    """Return the blocks of code of the document in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def modules() -> Iterator[tuple[str, ...]]:
    """The names of the examples' modules, which are forgotten at the end."""
    names = ("bright", "scatter")
    yield names
    for name in names:
        sys.modules.pop(name, None)


def test_the_examples_run_as_they_are_written(
    tiny_run: Run, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, modules: tuple[str, ...]
) -> None:
    (block,) = read_blocks("yaml")
    (step,) = yaml.safe_load(block)["steps"]
    (written,) = re.findall(r"its step is `({.*})`", DOCUMENT.read_text())
    second = yaml.safe_load(written)
    assert tuple(one["stage"].partition(":")[0] for one in (step, second)) == modules
    for module, code in zip(modules, read_blocks("python"), strict=True):
        (tmp_path / f"{module}.py").write_text(code)
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.url, folder)  # other tests read the run, so that it stays as it is
    config = tiny_config(str(folder))
    config["steps"] += [step, second]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))

    run = radps.run(path, progress=False)

    record = run.context.steps["bright"]
    assert record.state == "done"
    assert run.context.sequence == tiny_run.context.sequence + 2  # nothing else was done
    cube = next(image for image in run.context.images if image.kind == "cube")
    planes = load_planes(run.context.locate(cube.path), "SKY")
    expected = np.count_nonzero(planes > record.params["above"], axis=(1, 2)).tolist()
    assert sum(expected) > 0
    assert record.outcome is not None
    assert record.outcome.message == f"{sum(expected)} bright pixels"
    assert record.outcome.summary == {"by_channel": expected}

    measured = run.context.steps["scatter"].outcome
    assert measured is not None
    (partition,) = run.context.visibilities("target")
    data = load_visibilities(run.context.address(partition), variables=("visibility", "flag"))
    amplitude = np.where(data.flags, np.nan, np.abs(data.visibilities).astype(float))
    by_baseline = np.moveaxis(amplitude, 1, 0).reshape(amplitude.shape[1], -1)
    used = ~data.flags.all(axis=(0, 2, 3))
    assert used.any()
    slow = np.median(np.nanstd(by_baseline[used], axis=1))
    assert measured.summary == {partition.name: pytest.approx(slow, rel=1e-6)}  # single precision of the amplitudes

    sys.modules.pop(modules[0])  # as in another process: the report finds the file beside the config again
    front = Path(run.report(visibilities=False))
    assert f"{sum(expected)} bright pixels" in front.read_text()
    page = front.with_name("step-bright.html").read_text()
    assert "20 mJy" in page
    assert "Brightness per beam from which a pixel counts." in page
    (picture,) = measured.products
    shown = f'<img src="{picture.path.replace("products", "..", 1)}" alt="{partition.name}.png" loading'
    assert shown in front.with_name("step-scatter.html").read_text()


def test_the_names_on_the_page_are_there() -> None:
    names = re.findall(r"`(radps[.\w]+)`", DOCUMENT.read_text())
    assert len(names) > 6
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert name in sys.modules or hasattr(importlib.import_module(module), attribute), name
