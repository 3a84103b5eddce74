"""Scores of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radps.context.records import Beam, ImageRecord, Partition, PlannedImage, StatisticsRecord
from radps.data import convergence, stores
from radps.errors import DataError
from radps.node_tasks.assessment import ImageQuality, measure_image_quality
from radps.node_tasks.cube_imaging import measure_plane
from radps.node_tasks.visibility_quality import VisibilityQuality
from radps.stages._image_scores import find_planned, score_image
from radps.stages._imaging import describe_beamless, describe_records
from radps.stages._visibility_scores import score_visibilities, summarise_visibilities


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


PLANNED = PlannedImage(
    name="plan",
    mode="cube",
    field="galaxy",
    virtual_windows=(0,),
    image_size=64,
    cell_size_rad=1e-5,
    beam_rad=1e-4,
    noise_jy=2e-4,
    size_bytes=1,
)


def test_noise_and_beam_are_compared_with_what_was_planned() -> None:
    made = image(ROUND, {"n_sigma": 4}).model_copy(update={"noise_jy": 1.2e-3, "planned": "plan"})
    assert find_planned([PLANNED], made) is PLANNED
    scores = {one.name: one for one in score_image(made, QUALITY, PLANNED, 2e-4)}
    assert scores["noise over the expected thermal noise"].value == pytest.approx(6.0)
    assert scores["noise over the expected thermal noise"].score == pytest.approx(0.5)
    assert scores["beam over the expected beam"].value == pytest.approx(2.0)
    assert "noise over the expected thermal noise" not in {one.name for one in score_image(made, QUALITY, PLANNED)}
    unplanned = {one.name for one in score_image(made, QUALITY, None, 2e-4)}
    assert "noise over the expected thermal noise" in unplanned
    assert "beam over the expected beam" not in unplanned


def test_what_is_left_in_the_residual_is_scored() -> None:
    bad = QUALITY._replace(deepest_negative=40.0, residual_excess=2.1)
    scores = {one.name: one.score for one in score_image(image(ROUND, {"n_sigma": 4}), bad)}
    assert scores["deepest negative over noise"] == 0.0
    assert scores["residual rms over noise"] == pytest.approx(0.5)


def test_an_image_without_data_has_one_score_that_says_so() -> None:
    (score,) = score_image(image(None, {"no_data": 4}), ImageQuality(0, 0, 0.0, 0.0))
    assert score.score == 0.0
    assert "look at the flags" in score.message


def test_an_image_with_data_and_no_beam_is_named_with_the_remedy() -> None:
    (message,) = describe_beamless([image(None, {"n_sigma": 3, "no_data": 1}), image(ROUND, {"n_sigma": 4})])
    assert message.startswith("cube: no beam could be fitted")
    assert "pixels of 40 arcsec are too large" in message
    assert message.endswith("give a smaller cell_size; or there are too few baselines for a main lobe")
    assert describe_beamless([image(None, {"no_data": 4})]) == []


def test_a_plane_that_is_not_restored_keeps_the_noise_of_its_residual() -> None:
    residual = np.random.default_rng(3).normal(scale=0.5, size=(64, 64)).astype(np.float32)
    blank = np.full((64, 64), np.nan, np.float32)
    found = measure_plane(blank, residual)
    assert found.n_pixels == found.max == 0
    assert found.noise == pytest.approx(0.5, rel=0.05)  # 4,096 samples: 1.6 %
    assert found.residual_peak == np.abs(residual).max()
    assert measure_plane(blank, blank).noise == measure_plane(blank, blank).residual_peak == 0.0


CALIBRATOR = Partition(
    name="p",
    dataset="d",
    path="p",
    field="3C286",
    window="L",
    intents=(),
    shape=(1, 1, 1, 1),
    chunks=(1, 1),
    polarizations=("RR",),
    integration_time_s=1.0,
    scans={},
    groups={},
)


def test_calibrated_data_are_scored_by_what_is_known() -> None:
    found = VisibilityQuality(36, 0.11, np.deg2rad(5.5), np.deg2rad(50.0), np.deg2rad(10.0), 0.6)
    scores = {one.name: one.score for one in score_visibilities(CALIBRATOR, found)}
    assert scores["phase rms of long baselines in L"] == pytest.approx(0.5)
    assert scores["closure error of phases in L"] == pytest.approx(0.5)
    assert scores["closure error of amplitudes in L"] == pytest.approx(0.5)
    short = found._replace(closure_amplitude=np.nan, closure_phase_rad=np.nan)
    assert [one.name for one in score_visibilities(CALIBRATOR, short)] == ["phase rms of long baselines in L"]
    assert summarise_visibilities(short)["closure_phase_deg"] is None
    assert score_visibilities(CALIBRATOR, found._replace(n_baselines=0)) == []


def test_images_are_told_in_a_line_and_of_many_the_first() -> None:
    one = image(ROUND, {"n_sigma": 3, "max_iterations": 1})
    statistics = StatisticsRecord(max=0.0523, min=0.0, rms=0.0)
    one = one.model_copy(update={"noise_jy": 1.2e-3, "statistics": statistics})
    text = "cube: 4 channels, maximum 52.3 mJy/beam, noise 1.2 mJy/beam (stopped by n_sigma 3, max_iterations 1)"
    assert describe_records([one]) == text
    assert describe_records([one] * 6) == "; ".join([text] * 4) + "; and 2 more"


def test_a_table_of_an_earlier_radps_says_which_numbers_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "table")
    with monkeypatch.context() as patch:
        patch.setattr(convergence, "STATISTICS", convergence.STATISTICS[:6])
        convergence.create_convergence(url, np.array([1.4e9]), 2, {})
    stores.write_region(f"{url}/STATISTICS", (slice(0, 1), slice(None)), np.ones((1, 6)))
    stores.write_region(f"{url}/STOP_REASON", (slice(0, 1),), np.array([1], np.uint8))
    words = "has no residual_rms, residual_peak, mask_pixels: an earlier radps made it; image again, by --redo"
    with pytest.raises(DataError, match=words):
        measure_image_quality(url)
