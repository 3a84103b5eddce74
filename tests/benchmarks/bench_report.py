"""The report of a large run: 64 antennas and 1,000 channels, below 50 MB and 60 s of CPU time.

Run on demand: ``pytest -n 0 tests/benchmarks/bench_report.py`` simulates 290 million visibilities of MeerKAT,
calibrates them, makes a cube (6 minutes, 6 GB), and then measures what the report takes, its start included.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

import radps
from radps.data.demo_telescopes import meerkat_observation
from radps.data.observation_model import MeerkatLayout

LARGEST_BYTES = 50e6
LONGEST_CPU_S = 60.0


@pytest.fixture(scope="module")
def run_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with everything that the report draws."""
    small = meerkat_observation("small")
    width = 856e6 / 1000
    model = small.model_copy(
        update={
            "layout": MeerkatLayout(n_antennas=64),
            "polarizations": "XX YY",
            "band": small.band.model_copy(
                update={"start_frequency": 856e6 + width / 2, "channel_width": width, "n_channels": 1000}
            ),
        }
    )
    image = {"image_size": 64, "cell_size": "4 arcsec", "max_iterations": 50, "max_cycles": 2, "threshold": "5 mJy"}
    steps = [
        {"simulate": {"observation": model.model_dump(mode="json")}},
        "import_data",
        "flag",
        "set_model",
        {"calibrate": {"gain_channels": "300~600"}},
        "apply_calibration",
        {"image_continuum": image},
        {"image_cube": image},
        {"moments": {"n_sigma": 3.0}},
        "assess",
    ]
    url = str(tmp_path_factory.mktemp("report") / "run")
    radps.run({"run": url, "cluster": {"kind": "local", "workers": 2}, "steps": steps}, progress=False)
    return url


def test_the_report_is_small_and_soon_made(run_url: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "radps", "report", run_url], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    files = [path for path in Path(run_url, "products", "report").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"\nreport: {len(files)} files, {size / 1e6:.1f} MB, {cpu_s:.1f} s of CPU time")
    assert size < LARGEST_BYTES
    assert cpu_s < LONGEST_CPU_S
