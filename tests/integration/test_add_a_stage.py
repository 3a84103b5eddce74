"""The example of docs/add-a-stage.md works as it is written."""

from __future__ import annotations

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

DOCUMENT = Path(__file__).parents[2] / "docs" / "add-a-stage.md"


def read_block(language: str) -> str:
    """Return the one block of code of the document in a language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def module() -> Iterator[str]:
    """The name of the example's module, which is forgotten at the end."""
    yield "bright"
    sys.modules.pop("bright", None)


def test_the_example_runs_as_it_is_written(
    tiny_run: Run, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, module: str
) -> None:
    (step,) = yaml.safe_load(read_block("yaml"))["steps"]
    assert step["stage"].partition(":")[0] == module
    (tmp_path / f"{module}.py").write_text(read_block("python"))
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.url, folder)  # other tests read the run, so that it stays as it is
    config = tiny_config(str(folder))
    config["steps"].append(step)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))

    run = radps.run(path, progress=False)

    record = run.context.steps["bright"]
    assert record.state == "done"
    assert run.context.sequence == tiny_run.context.sequence + 1  # nothing else was done
    cube = next(image for image in run.context.images if image.kind == "cube")
    planes = load_planes(run.context.locate(cube.path), "SKY")
    expected = np.count_nonzero(planes > record.params["above"], axis=(1, 2)).tolist()
    assert sum(expected) > 0
    assert record.outcome is not None
    assert record.outcome.message == f"{sum(expected)} bright pixels"
    assert record.outcome.summary == {"by_channel": expected}

    sys.modules.pop(module)  # as in another process: the report finds the file beside the config again
    front = Path(run.report(visibilities=False))
    assert f"{sum(expected)} bright pixels" in front.read_text()
    page = front.with_name("step-bright.html").read_text()
    assert "20 mJy" in page
    assert "Brightness per beam from which a pixel counts." in page
