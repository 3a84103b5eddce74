"""The import of real VLA files: NGC 5921 sample by sample against pyuvdata, uvw against the positions of antennas."""

from __future__ import annotations

import importlib.util
import json
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.context.model import Context, Workspace
from radps.context.records import Partition, VlaExtension
from radps.data import stores
from radps.data.measurement_set_metadata import read_description
from radps.data.uvfits import load_rows
from radps.data.uvfits_metadata import describe_uvfits
from radps.domain.array import Baselines, uvw_from_positions
from radps.execution.engine import InProcess
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

FIELDS = ("1331+30500002_0", "1445+09900002_0", "N5921_2")
INTENTS = {FIELDS[0]: ["flux", "bandpass"], FIELDS[1]: ["phase"], FIELDS[2]: ["target"]}
N_ROWS = 22653


class Imported(NamedTuple):
    """The run, and what pyuvdata reads of the same file."""

    context: Context
    reference: Any


@pytest.fixture(scope="module")
def imported(ngc5921_fits: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    from pyuvdata import UVData

    url = str(tmp_path_factory.mktemp("import") / "run")
    config = {
        "data": {"path": str(ngc5921_fits), "intents": INTENTS},
        "run": url,
        "cluster": "none",
        "steps": ["import_data"],
    }
    context = run_workflow(load_workflow(config), engine=InProcess(2**32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyuvdata says that the file lacks what old files lack
        reference = UVData.from_file(str(ngc5921_fits), file_type="uvfits", run_check=False)
    return Imported(context.at(Workspace(url=url)), reference)


def load(context: Context, partition: Partition) -> tuple[NDArray[Any], ...]:
    """Return visibilities, flags, weights and uvw as they are stored."""
    address = context.address(partition)
    return tuple(stores.load_array(url) for url in (address.visibility, address.flag, address.weight, address.uvw))


def test_the_observation_is_that_of_casa(imported: Imported, shared_data: Path) -> None:
    observation = imported.context.require_observation()
    antennas = json.loads((shared_data / "ngc5921" / "reference" / "antennas.json").read_text())
    assert [antenna.name for antenna in observation.antennas] == antennas["name"]
    assert [antenna.station for antenna in observation.antennas] == antennas["station"]
    assert {antenna.diameter_m for antenna in observation.antennas} == {25.0}
    assert (observation.telescope, observation.observer) == ("VLA", "TEST")
    assert tuple(field.name for field in observation.fields) == FIELDS
    assert [imported.context.field_names(word) for word in ("flux", "phase", "target")] == [(name,) for name in FIELDS]
    (window,) = observation.windows
    assert (window.n_channels, window.frame, window.rest_frequency_hz) == (63, "LSRK", 1420405752.0)
    # channel 32 of the header, counted from 1: 1413.421909706 MHz
    assert window.frequency_hz[0] + 31 * 24414.0625 == pytest.approx(1.413421909706e9, abs=1.0)
    # scans and fields of CASA's listobs
    assert [(scan.name, scan.field) for scan in observation.scans] == [
        (str(number + 1), FIELDS[field]) for number, field in enumerate((0, 1, 2, 1, 1, 2, 1))
    ]
    assert {one.polarizations for one in observation.partitions} == {("RR", "LL")}
    assert {one.integration_time_s for one in observation.partitions} == {30.0}
    assert sum(one.shape[0] for one in observation.partitions) == 60
    assert observation.extension == VlaExtension(configuration="D", bands={"spw0": "L"})
    # 09:18:45 to 10:47:15 in the atomic time of the file, 29 s ahead
    start, stop = (datetime.fromtimestamp(round(time) + 29, UTC) for time in observation.project.time_range_s)
    assert (f"{start:%Y-%m-%d %H:%M:%S}", f"{stop:%Y-%m-%d %H:%M:%S}") == ("1995-04-13 09:18:45", "1995-04-13 10:47:15")
    # D array: 1.03 km
    assert observation.longest_baseline_m == pytest.approx(1031.2, abs=0.1)
    outcome = imported.context.steps["import_data"].outcome
    assert outcome is not None
    assert outcome.summary["antennas_without_data"] == ["VA23"]


def test_every_sample_is_that_of_pyuvdata(imported: Imported) -> None:
    """Visibilities and uvw with the other sign; what the file does not have is NaN and flagged."""
    reference = imported.reference
    names = {entry["cat_name"]: number for number, entry in reference.phase_center_catalog.items()}
    numbers = reference.telescope.antenna_numbers
    seen = 0
    for partition in imported.context.require_observation().partitions:
        one = read_description(imported.context.locate(partition.path))
        visibilities, flags, weights, uvw_m = load(imported.context, partition)
        rows = np.flatnonzero(reference.phase_center_id_array == names[partition.field])
        # the file counts in atomic time, 29 s ahead of UTC; its times are float32 of some ms
        seconds = (reference.time_array[rows] - 2440587.5) * 86400 - 29.0
        time = np.argmin(np.abs(one.time_s[:, np.newaxis] - seconds), axis=0)
        assert np.abs(one.time_s[time] - seconds).max() < 1e-3
        pairs = {pair: number for number, pair in enumerate(zip(one.antenna1, one.antenna2, strict=True))}
        first, second = (
            np.searchsorted(numbers, array[rows]) for array in (reference.ant_1_array, reference.ant_2_array)
        )
        baseline = np.array([pairs[pair] for pair in zip(first, second, strict=True)])
        np.testing.assert_array_equal(visibilities[time, baseline], reference.data_array[rows].conj())
        np.testing.assert_array_equal(flags[time, baseline], reference.flag_array[rows])
        np.testing.assert_array_equal(weights[time, baseline], reference.nsample_array[rows])
        np.testing.assert_allclose(uvw_m[time, baseline], -reference.uvw_array[rows], rtol=1e-12)
        there = np.zeros(visibilities.shape[:2], np.bool_)
        there[time, baseline] = True
        assert np.count_nonzero(there) == rows.size, "no two rows are in one cell"
        assert np.isnan(visibilities[~there]).all()
        assert np.isnan(uvw_m[~there]).all()
        assert flags[~there].all()
        assert np.any(one.antenna1 == one.antenna2), "autocorrelations stay for the stage flag"
        seen += rows.size
    assert seen == N_ROWS


def residual_m(positions_m: NDArray[np.float64], one: Any, uvw_m: NDArray[np.float64], shift_s: float = 0.0) -> float:
    """Return the rms distance of uvw from those that the positions of the antennas give."""
    pairs = Baselines(one.antenna1, one.antenna2)
    model = uvw_from_positions(positions_m, one.time_s + shift_s, *one.phase_center_rad, pairs)
    return float(np.sqrt(np.nanmean((uvw_m - model) ** 2)))


def test_uvw_are_those_of_the_antennas(imported: Imported) -> None:
    """Sign, frame and time at once: position of antenna 1 less that of antenna 2, at UTC.

    The uvw of the file hold for up to 35 s before its times (it was averaged in time after they were computed), so that
    some 0.3 % of a baseline of 1 km remain; in atomic time it would be more, with the other sign everything.
    """
    for partition in imported.context.require_observation().partitions:
        one = read_description(imported.context.locate(partition.path))
        *_, uvw_m = load(imported.context, partition)
        rms = residual_m(one.antennas.positions_m, one, uvw_m)
        assert rms < 1.0
        assert residual_m(one.antennas.positions_m, one, uvw_m, shift_s=29.0) > 1.5 * rms
        assert residual_m(one.antennas.positions_m, one, -uvw_m) > 300.0


@pytest.fixture(scope="module")
def b1950_file() -> str:
    spec = importlib.util.find_spec("casadata")
    if spec is None or spec.origin is None:
        pytest.skip("no B1950 data: install casadata (pip install 'radps[casadata]')")
    return str(Path(spec.origin).parent / "__data__" / "demo" / "3C273XC1.fits")


def test_a_real_b1950_file_comes_to_j2000(b1950_file: str) -> None:
    """3C 273 in 1989, without tables of sources, intervals, diameters: its uvw fit to J2000 once they are turned."""
    (part,) = describe_uvfits(b1950_file)
    one = part.description
    ra, dec = np.rad2deg(one.phase_center_rad)
    # VLA calibrator list: 12h29m06.6997s +02d03'08.598"; the phase centre is within 1 arcsec of it
    assert (ra, dec) == pytest.approx((187.2779, 2.0524), abs=1 / 3600)
    assert (one.phase_center_frame, one.spectral_frame) == ("fk5", "TOPO")
    assert one.polarizations == ("RR", "LL", "RL", "LR")
    assert one.integration_time_s == pytest.approx(10.0, abs=0.01)
    assert np.isnan(one.rest_frequency_hz)
    times, baselines = np.nonzero(part.rows >= 0)
    turned = load_rows(part.address, part.rows[times, baselines], slice(0, 1)).uvw_m
    plain_address = part.address.model_copy(update={"uvw_rotation_rad": 0.0})
    plain = load_rows(plain_address, part.rows[times, baselines], slice(0, 1)).uvw_m
    rms = []
    for uvw in (turned, plain):
        grid = np.full((*part.rows.shape, 3), np.nan)
        grid[times, baselines] = uvw
        rms.append(residual_m(one.antennas.positions_m, one, grid))
    # of baselines up to 3.7 km
    assert rms[0] < 0.5
    assert rms[1] > 1.5 * rms[0]
