"""What is in a data set, before it is imported: compared with what was written."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from radps.data import casacore_tables
from radps.data.demo_telescopes import DemoObservation
from radps.data.listing import list_dataset
from radps.data.simulate import simulate_observation
from radps.errors import DataError

ALMA = DemoObservation(telescope="alma", size="tiny").build()


def test_windows_of_an_msv2_have_their_numbers_and_own_numbers_of_channels(
    tmp_path: Path, simulated_msv2: ModuleType
) -> None:
    simulated_msv2.write_simulated_msv2(tmp_path / "uid.ms", ALMA, averaged=True, wvr=True)
    found = list_dataset(str(tmp_path / "uid.ms"))
    band = ALMA.band
    assert [one.number for one in found.windows] == [str(number) for number in range(len(found.windows))]
    radiometer, full, average = found.windows[:3]
    assert (radiometer.name, radiometer.n_channels, radiometer.polarizations) == ("WVR#NOMINAL", 4, ("I",))
    assert (full.n_channels, full.polarizations) == (band.n_channels, ("XX", "YY"))
    assert full.channel_width_hz == pytest.approx(band.channel_width)
    assert full.frequency_hz[1] - full.frequency_hz[0] == pytest.approx((band.n_channels - 1) * band.channel_width)
    assert average.n_channels == 1
    assert [one.name for one in found.fields] == [one.name for one in ALMA.fields]
    for one, truth in zip(found.fields, ALMA.fields, strict=True):
        assert one.direction_rad == pytest.approx((truth.ra, truth.dec), abs=1e-12)
    assert [one.field for one in found.scans] == [one.field for one in ALMA.scans]
    lengths = [one.stop_s - one.start_s for one in found.scans]
    assert lengths == pytest.approx([one.n_integrations * ALMA.integration_time for one in ALMA.scans])


@pytest.mark.parametrize("rows_at_once", [7, 1000])
def test_scans_and_intents_of_an_msv2_do_not_depend_on_the_blocks(
    tmp_path: Path, datasets: ModuleType, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(casacore_tables, "ROWS_AT_ONCE", rows_at_once)
    truth = datasets.write_msv2(tmp_path / "a.ms")
    found = list_dataset(str(tmp_path / "a.ms"))
    assert [(one.name, one.field) for one in found.scans] == [
        ("1", "3C286"), ("2", "N5921_2"), ("3", "3C286"), ("4", "N5921_2"),
    ]  # fmt: skip
    assert found.scans[0].start_s == pytest.approx(truth.unix_s.min() - 0.5 * datasets.INTEGRATION_S)
    assert found.scans[-1].stop_s == pytest.approx(truth.unix_s.max() + 0.5 * datasets.INTEGRATION_S)
    assert found.antennas == ("VA01", "VA02", "VA03", "VA04")
    intents = {one.name: one.intents for one in found.fields}
    assert {word.partition("#")[0] for word in intents["3C286"]} == {
        "CALIBRATE_FLUX", "CALIBRATE_BANDPASS", "CALIBRATE_PHASE",
    }  # fmt: skip


def test_a_uvfits_file_says_no_intents(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_uvfits(tmp_path / "a.fits", n_windows=2)
    found = list_dataset(str(tmp_path / "a.fits"))
    assert [one.number for one in found.windows] == ["0", "1"]
    assert all(one.intents == () for one in found.fields)
    assert [one.windows for one in found.scans] == [("0", "1")] * 3
    assert found.windows[0].n_channels == truth.samples.shape[2]


def test_a_processing_set_is_listed_by_its_metadata(tmp_path: Path) -> None:
    model = DemoObservation(telescope="vla", size="tiny").build()
    simulate_observation(str(tmp_path / "raw.ps.zarr"), model)
    for chunk in (tmp_path / "raw.ps.zarr").rglob("VISIBILITY/c"):
        shutil.rmtree(chunk)  # no visibility is read
    found = list_dataset(str(tmp_path / "raw.ps.zarr"))
    assert [one.name for one in found.fields] == [one.name for one in model.fields]
    assert [one.field for one in found.scans] == [one.field for one in model.scans]
    assert np.diff([one.start_s for one in found.scans]).min() > 0


def test_tables_that_are_missing_or_damaged_are_named(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_msv2(tmp_path / "a.ms")
    (tmp_path / "a.ms" / "OBSERVATION" / "table.f0").unlink()
    with pytest.raises(DataError, match=r"a\.ms/OBSERVATION.* the MSv2 is damaged"):
        list_dataset(str(tmp_path / "a.ms"))
    shutil.rmtree(tmp_path / "a.ms" / "OBSERVATION")
    with pytest.raises(DataError, match=r"a\.ms/OBSERVATION is no casacore table .* the MSv2 is damaged"):
        list_dataset(str(tmp_path / "a.ms"))
