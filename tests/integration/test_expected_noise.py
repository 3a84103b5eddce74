"""The noise of images against that of the visibilities that are left, on simulated noise of a known SEFD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import radps
from radps.api import Run

SEFD_JY = 420.0
N_ANTENNAS, N_CHANNELS, N_TIMES = 14, 12, 40
IMAGE = {"image_size": 96, "cell_size": "12 arcsec", "weighting": "natural", "max_iterations": 0}
OBSERVATION = {
    "name": "empty",
    "seed": 11,
    "integration_time": "30 s",
    "layout": {"kind": "vla", "configuration": "D", "n_antennas": N_ANTENNAS},
    "band": {"start_frequency": "1.4 GHz", "channel_width": "1 MHz", "n_channels": N_CHANNELS},
    "fields": [{"name": "empty", "ra": "190 deg", "dec": "40 deg"}],
    "scans": [{"field": "empty", "n_integrations": N_TIMES}],
    "gains": None,
    "bandpasses": None,
    "noise": {"sefd": f"{SEFD_JY} Jy", "efficiency": 1.0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An empty field, of which antennas, a channel and half of another one are flagged."""
    config = {
        "run": str(tmp_path_factory.mktemp("noise") / "run"),
        "cluster": "none",
        "steps": [
            {"simulate": {"observation": OBSERVATION}},
            "import_data",
            {"flag": {"manual": [{"antennas": ["ea01", "ea02", "ea03", "ea04"]}, {"channels": ["3"]}]}},
            {"image_cube": IMAGE},
            {"id": "axis", "stage": "image_cube", "params": {**IMAGE, "width": "2 MHz", "start": 4, "n_channels": 3}},
            {"image_continuum": {**IMAGE, "channels": ["0~1", "5~11"]}},
            {"assess": {"sefd": f"{SEFD_JY} Jy"}},
            {"id": "nominal", "stage": "assess"},
        ],
    }
    return radps.run(config, progress=False)


def found(run: Run, step: str = "assess") -> dict[str, dict[str, Any]]:
    outcome = run.context.steps[step].outcome
    assert outcome is not None
    return dict(outcome.summary["images"])


def test_the_noise_of_images_is_that_of_the_visibilities_that_are_left(run: Run) -> None:
    n_antennas = N_ANTENNAS - 4
    channel_jy = SEFD_JY / (2 * n_antennas * (n_antennas - 1) * 30.0 * N_TIMES * 1e6) ** 0.5
    # Channels of the axis lie in the middle between those of the data: one has 0.5 of v5, v6, and 0.5 of v7.
    expected = {"image_cube": channel_jy, "axis": channel_jy * 1.5**0.5 / 2, "image_continuum": channel_jy / 3}
    numbers = found(run)
    assert len(numbers) == 3
    for image in run.context.images:
        one = numbers[image.name]
        assert one["expected_noise_jy"] == pytest.approx(expected[image.step], rel=1e-6)
        # Some 100 beams in an image: the robust rms is known to 8 %, that of channels together better.
        assert one["noise_jy"] / one["expected_noise_jy"] == pytest.approx(1.0, abs=0.15)
    (continuum,) = run.context.find_images(kind="continuum")
    assert continuum.data[0].channels == ((0, 2), (5, 12))
    named = run.context.scores(step="assess", name="noise over the expected thermal noise")
    assert [one.score.score for one in named] == [1.0] * 3


def test_flags_are_counted(run: Run) -> None:
    every_antenna_jy = SEFD_JY / (2 * N_ANTENNAS * (N_ANTENNAS - 1) * 30.0 * N_TIMES * 1e6) ** 0.5
    cube = run.context.find_images(kind="cube", step="image_cube")[0]
    assert found(run)[cube.name]["expected_noise_jy"] > 1.35 * every_antenna_jy


def test_without_a_given_sefd_that_of_the_telescope_is_taken(run: Run) -> None:
    nominal_jy = 5.62 * 35.0 / 0.55  # the VLA at L band
    for name, numbers in found(run, "nominal").items():
        given = found(run)[name]["expected_noise_jy"]
        assert numbers["expected_noise_jy"] == pytest.approx(given * nominal_jy / SEFD_JY, rel=1e-6)


def test_windows_that_overlap_add_up(tmp_path: Path) -> None:
    band = {"start_frequency": "1.4 GHz", "channel_width": "1 MHz", "n_channels": 12}
    further = {**band, "name": "spw1", "start_frequency": "1.4085 GHz"}
    observation = {**OBSERVATION, "band": band, "further_bands": [further]}
    image = {**IMAGE, "image_size": 192, "combine_windows": True, "width": "1 MHz"}
    # Both windows, the second one mixed in the middle between two channels; and the second one alone.
    axes = {"both": ("1.409 GHz", 3), "second": ("1.413 GHz", 6)}
    config = {
        "run": str(tmp_path / "run"),
        "cluster": "none",
        "steps": [
            {"simulate": {"observation": observation}},
            {"import_data": {}},
            *(
                {"id": name, "stage": "image_cube", "params": {**image, "start": start, "n_channels": n_channels}}
                for name, (start, n_channels) in axes.items()
            ),
            {"assess": {"sefd": f"{SEFD_JY} Jy"}},
        ],
    }
    done = radps.run(config, progress=False)
    channel_jy = SEFD_JY / (2 * N_ANTENNAS * (N_ANTENNAS - 1) * 30.0 * N_TIMES * 1e6) ** 0.5
    expected = {"both": channel_jy * 1.5**0.5 / 2, "second": channel_jy * 0.5**0.5}
    for cube in done.context.images:
        one = found(done)[cube.name]
        assert one["expected_noise_jy"] == pytest.approx(expected[cube.step], rel=1e-6)
        # Four times the area of the images above: 4 % a channel.
        assert one["noise_jy"] / one["expected_noise_jy"] == pytest.approx(1.0, abs=0.08)
