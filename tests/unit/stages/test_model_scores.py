"""Models of calibrators are judged by their flux density and by how far they hold in the array."""

from __future__ import annotations

import math

import pytest

from radps.context.records import Direction, ObservedField, SkyComponent, SkyImage, SkyModel, SpectralWindow
from radps.domain.flux_models import SCALE
from radps.stages._model_scores import Surroundings, measure_extent, score_models, summarise_extent

FREQUENCY_HZ = 1.5e9
FLUX_JY = 14.5665
"""3C286 at 1.5 GHz, Perley & Butler 2017."""


def around(longest_baseline_m: float, n_windows: int = 1) -> Surroundings:
    """3C286 and a source that no catalogue has."""
    directions = {"3C286": (3.53925779, 0.53248511), "other": (1.0, 0.2)}
    windows = [
        SpectralWindow(
            name=f"spw{number}",
            virtual=number,
            frequency_hz=(FREQUENCY_HZ, FREQUENCY_HZ),
            n_channels=1,
            channel_width_hz=1e6,
            frame="TOPO",
        )
        for number in range(n_windows)
    ]
    fields = {
        name: ObservedField(
            name=name, source=name, direction=Direction(ra_rad=ra, dec_rad=dec, frame="fk5"), intents=()
        )
        for name, (ra, dec) in directions.items()
    }
    return Surroundings(fields, dict.fromkeys(fields, windows), longest_baseline_m)


def model(flux_jy: float = FLUX_JY, field: str = "3C286", origin: str = SCALE, size_rad: float = 0.0) -> SkyModel:
    component = SkyComponent(
        flux_jy=flux_jy, reference_frequency_hz=FREQUENCY_HZ, major_rad=size_rad, minor_rad=size_rad
    )
    return SkyModel(field=field, components=(component,), origin=origin)


def scores(one: SkyModel, longest_baseline_m: float) -> dict[str, tuple[float, float]]:
    """Return name -> value and score."""
    extent = measure_extent(one, around(longest_baseline_m))
    found = score_models({one.field: extent}, [one.field], longest_baseline_m)
    return {score.name: (score.value, score.score) for score in found}


def test_a_catalogued_point_holds_in_a_small_array_and_not_in_a_large_one() -> None:
    small, large = scores(model(), 1e3), scores(model(), 36e3)
    assert small["baselines on which the point model holds"] == (100.0, 1.0)
    value, score = large["baselines on which the point model holds"]
    assert value == pytest.approx(100 * 1650 / 36e3, rel=0.01)  # 8.25 kilowavelengths
    assert score == pytest.approx(value / 50)
    assert small["difference to the catalogue"] == (pytest.approx(0.0, abs=1e-2), 1.0)


def test_a_given_model_is_compared_with_the_catalogue_and_with_the_array() -> None:
    size_rad = 1e-4
    wrong = scores(model(FLUX_JY * 1.2, origin="config", size_rad=size_rad), 1e3)
    assert wrong["difference to the catalogue"][0] == pytest.approx(20, rel=1e-3)
    u = 1e3 * FREQUENCY_HZ / 299792458.0
    left = math.exp(-((math.pi * size_rad * u) ** 2) / (4 * math.log(2)))
    assert wrong["flux density left on the longest baseline"][0] == pytest.approx(100 * left, rel=1e-6)
    assert "baselines on which the point model holds" not in wrong
    assert "difference to the catalogue" not in scores(model(field="other", origin="config"), 1e3)


def test_without_a_known_flux_density_the_scale_is_lost() -> None:
    extent = measure_extent(model(1.0, "other", "assumed 1 Jy"), around(1e3))
    (score,) = score_models({"other": extent}, [], 1e3)
    assert (score.name, score.score) == ("calibrators of known flux density", 0.0)
    assert "give one by flux_calibrators or models" in score.message


def test_an_image_has_the_numbers_that_are_known_of_it() -> None:
    spectrum = SkyComponent(flux_jy=FLUX_JY / 2, reference_frequency_hz=FREQUENCY_HZ)
    image = SkyImage(path="x", size=(8, 8), cell_size_rad=1e-5, spectrum=spectrum)
    one = SkyModel(field="3C286", image=image, origin="model image")
    assert summarise_extent(measure_extent(one, around(1e3))) == {
        "kind": "image",
        "point_baseline_m": None,
        "longest_part": None,
        "catalogue_difference": pytest.approx(0.5, abs=1e-4),
    }
    assert summarise_extent(measure_extent(model(0.0, "other"), around(1e3)))["longest_part"] is None
