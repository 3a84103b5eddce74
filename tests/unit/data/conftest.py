"""Fixtures of the tests of the data layer."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from radps.data import stores
from radps.data.measurement_set import Antennas, MeasurementSetDescription


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder of its own, on the local disk and in memory."""
    if request.param == "local":
        yield str(tmp_path)
        return
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    stores.delete(url)


@pytest.fixture
def description() -> MeasurementSetDescription:
    """Four antennas, five times in two scans, six channels, two hands."""
    antenna1, antenna2 = np.triu_indices(4, k=1)
    rng = np.random.default_rng(1)
    antennas = Antennas(
        names=("VA01", "VA02", "VA05", "VA07"),
        stations=("VLA:N7", "VLA:W1", "VLA:W2", "VLA:E1"),
        positions_m=np.array([-1.6e6, -5.04e6, 3.55e6]) + rng.normal(scale=300.0, size=(4, 3)),
        diameters_m=np.full(4, 25.0),
        mounts=("ALT-AZ",) * 4,
        receptors=("R", "L"),
        receptor_angles_rad=np.radians([[45.0, 45.0]] * 4),
    )
    return MeasurementSetDescription(
        name="field_a_0",
        field_name="field a",
        source_name="field a",
        phase_center_rad=(4.02, 0.0884),
        phase_center_frame="fk5",
        intents=("OBSERVE_TARGET#ON_SOURCE",),
        time_s=8.0e8 + 30.0 * np.array([0.0, 1.0, 2.0, 10.0, 11.0]),
        integration_time_s=30.0,
        scan_names=("1", "1", "1", "2", "2"),
        frequency_hz=1.41e9 + 24.4e3 * np.arange(6),
        channel_width_hz=24.4e3,
        spectral_frame="LSRK",
        rest_frequency_hz=1.420405752e9,
        spectral_window_name="none",
        polarizations=("RR", "LL"),
        antennas=antennas,
        antenna1=antenna1.astype(np.int64),
        antenna2=antenna2.astype(np.int64),
        telescope="VLA",
        observer="TEST",
        project="AB123",
    )
