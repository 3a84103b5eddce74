"""Scores of images."""

from __future__ import annotations

import numpy as np
import pytest

from radps.context.records import Beam, ImageRecord, StatisticsRecord
from radps.node_tasks.assessment import ImageQuality
from radps.node_tasks.cube_imaging import measure_plane
from radps.stages._imaging import describe_beamless
from radps.stages.assess import score_image


def image(beam: Beam | None, channels: dict[str, int]) -> ImageRecord:
    """A cube of four channels."""
    return ImageRecord(
        name="cube",
        kind="cube",
        path="images/cube.zarr",
        variable="SKY",
        field="galaxy",
        window="L",
        shape=(4, 64, 64),
        cell_size_rad=np.deg2rad(40 / 3600),
        frequency_hz=(1.4e9, 1.4003e9),
        channel_width_hz=1e5,
        statistics=StatisticsRecord(max=0.0, min=0.0, rms=0.0),
        noise_jy=0.0,
        beam=beam,
        channels=channels,
    )


ROUND = Beam(major_rad=2e-4, minor_rad=2e-4, position_angle_rad=0.0)
LONG = Beam(major_rad=2e-3, minor_rad=2e-4, position_angle_rad=0.0)
QUALITY = ImageQuality(n_channels=4, n_converged=4, worst_residual=4.0, worst_noise=1.1)


@pytest.mark.parametrize(
    ("beam", "name", "score"),
    [(ROUND, "axis ratio of the beam", 1.0), (LONG, "axis ratio of the beam", 0.0), (None, "fitted beam", 0.0)],
)
def test_the_beam_is_scored(beam: Beam | None, name: str, score: float) -> None:
    scores = {one.name: one.score for one in score_image(image(beam, {"n_sigma": 4}), QUALITY)}
    assert scores[name] == pytest.approx(score)
    assert scores["converged channels"] == scores["largest residual over noise"] == 1.0


def test_an_image_without_data_has_one_score_that_says_so() -> None:
    (score,) = score_image(image(None, {"no_data": 4}), ImageQuality(0, 0, 0.0, 0.0))
    assert score.score == 0.0
    assert "look at the flags" in score.message


def test_an_image_with_data_and_no_beam_is_named_with_the_remedy() -> None:
    (message,) = describe_beamless([image(None, {"n_sigma": 3, "no_data": 1}), image(ROUND, {"n_sigma": 4})])
    assert message.startswith("cube: no beam could be fitted")
    assert "pixels of 40 arcsec are too large" in message
    assert message.endswith("give a smaller cell_size")
    assert describe_beamless([image(None, {"no_data": 4})]) == []


def test_a_plane_that_is_not_restored_keeps_the_noise_of_its_residual() -> None:
    residual = np.random.default_rng(3).normal(scale=0.5, size=(64, 64)).astype(np.float32)
    blank = np.full((64, 64), np.nan, np.float32)
    found = measure_plane(blank, residual)
    assert found.n_pixels == found.max == 0
    assert found.noise == pytest.approx(0.5, rel=0.05)  # 4,096 samples: 1.6 %
    assert measure_plane(blank, blank).noise == 0.0
