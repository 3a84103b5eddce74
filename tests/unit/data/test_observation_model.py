"""Models of simulated observations: what they accept, and what they say of what they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from radps.data.demo_observation import demo_observation
from radps.data.observation_model import Band, ObservationModel, SimulatedComponent
from radps.errors import SelectionError

BASE: dict[str, Any] = {
    "band": {"start_frequency": "1.4 GHz", "channel_width": "100 kHz", "n_channels": 8},
    "fields": [{"name": "a", "ra": 1.0, "dec": 0.5}],
    "scans": [{"field": "a", "n_integrations": 3}],
    "layout": {"kind": "vla", "configuration": "D", "n_antennas": 5},
}


def test_quantities_come_with_units_and_are_kept_in_si() -> None:
    model = ObservationModel.model_validate({**BASE, "integration_time": "1 min"})
    assert model.integration_time == 60.0
    np.testing.assert_array_equal(model.band.frequency_hz, 1.4e9 + 1e5 * np.arange(8))
    assert model.polarization_names == ("RR", "LL")
    assert model.n_integrations == 3


def test_a_model_survives_json() -> None:
    model = demo_observation("tiny", seed=7)
    assert ObservationModel.model_validate_json(model.model_dump_json()) == model


@pytest.mark.parametrize("size", ["tiny", "small", "large"])
def test_the_demo_has_calibrators_around_every_scan_of_the_target(size: Any) -> None:
    model = demo_observation(size)
    names = [scan.field for scan in model.scans]
    assert names[0] == "3C286"
    for place, name in enumerate(names):
        if name == "N5921":
            assert names[place - 1] == names[place + 1] == "J1445+0958"
    assert np.mean(model.band.frequency_hz) == pytest.approx(1413.4e6)
    lines = [component for component in model.fields[2].components if component.line_peak]
    assert all(abs(one.line_center - 1413.4e6) + one.line_width < 0.4e6 for one in lines)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"scans": [{"field": "b", "n_integrations": 1}]},
            "a scan of the field 'b': the fields are a; the field 'a' has no scan",
        ),
        ({"fields": BASE["fields"] * 2}, "the field 'a' is there twice"),
        ({"dead_antennas": ["ea09"]}, "a broken antenna 'ea09': the antennas are ea01 to ea05"),
        ({"noisy_antennas": [{"name": "xx", "sefd_factor": 2}]}, "a broken antenna 'xx'"),
        ({"interference": {"carrier_channels": [2, 8]}}, r"carrier_channels \[8\]: the last channel is 7"),
        (
            {"interference": {"bursts_per_hour": 1, "burst_channels": 9}},
            "burst_channels 9: the band has 8 channels",
        ),
        (
            {"layout": {"kind": "random", "n_antennas": 90, "longest_baseline": 100}},
            "layout: 90 antennas of 25.0 m asked for within 100.0 m",
        ),
        ({"start": "2026-01-01T00:00:00"}, "timezone"),
        ({"name": "a/b"}, "pattern"),
        ({"integration_time": "5 km"}, "which is not a duration"),
        ({"seeed": 1}, "Extra inputs are not permitted"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        ObservationModel.model_validate({**BASE, **changes})


@pytest.mark.parametrize(
    ("component", "text"),
    [
        ({"ra": 1.0}, "either east and north of the phase centre, or ra and dec"),
        ({"ra": 1.0, "dec": 0.1, "east": 0.1}, "either east and north of the phase centre, or ra and dec"),
        ({"east": 0.8, "north": 0.7}, r"east = 0.8, north = 0.7 rad are outside of the hemisphere"),
        ({"line_peak": 1.0}, "a line of 1.0 Jy has no width; give line_width"),
        ({"flux": 1.0, "flux_standard": "3C286"}, "either flux or flux_standard"),
    ],
)
def test_impossible_components_are_refused(component: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        SimulatedComponent.model_validate(component)


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    model = ObservationModel.model_validate(BASE)
    assert model.find_field("a").ra == 1.0
    with pytest.raises(SelectionError, match="the simulated observation 'simulation' has no field 'b'; it has a"):
        model.find_field("b")


def test_the_band_rises_by_its_width() -> None:
    band = Band(start_frequency=1e9, channel_width=1e3, n_channels=3)
    assert band.frequency_hz.tolist() == [1e9, 1e9 + 1e3, 1e9 + 2e3]
