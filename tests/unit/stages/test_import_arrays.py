"""The import of data as ALMA and MeerKAT deliver them: MSv2 of several windows, linear feeds, odd intents."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from radps.context.model import Context
from radps.context.records import AlmaExtension, MeerkatExtension, OutcomeStatus, Partition, StepState
from radps.data import stores
from radps.data.addresses import VisibilityAddress
from radps.data.demo_telescopes import DemoObservation
from radps.data.observation_model import AlmaLayout, SimulatedScan
from radps.data.simulate import simulate_block, simulate_observation
from radps.data.visibilities import load_visibilities
from radps.execution.engine import InProcess
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner

ALMA = DemoObservation(telescope="alma", size="tiny").build()
# Two fields, one science window and six antennas: XRADIO takes a second for each partition.
ALMA = ALMA.model_copy(
    update={
        "fields": ALMA.fields[::2],
        "scans": tuple(SimulatedScan(field=name, n_integrations=3) for name in ("J1058+0133", "disc")),
        "further_bands": (),
        "layout": AlmaLayout(n_antennas=6),
    }
)
MEERKAT = DemoObservation(telescope="meerkat", size="tiny").build()


@pytest.fixture(scope="module")
def msv2() -> ModuleType:
    """The module that writes simulated MSv2 folders."""
    name = "radps_test_simulated_msv2"
    place = Path(__file__).parents[2] / "helpers" / "simulated_msv2.py"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def import_from(folder: Path, path: Path, **params: object) -> Context:
    """Run the import alone."""
    config = {
        "data": {"path": str(path)},
        "run": str(folder / "run"),
        "cluster": "none",
        "steps": [{"import_data": params}],
    }
    return Runner(load_workflow(config), engine=InProcess(2**30)).run()


def address(folder: Path, partition: Partition) -> VisibilityAddress:
    return VisibilityAddress.of_measurement_set(str(folder / "run" / partition.path))


def test_alma_with_a_radiometer_and_channel_averages(tmp_path: Path, msv2: ModuleType) -> None:
    msv2.write_simulated_msv2(tmp_path / "uid.ms", ALMA, averaged=True, wvr=True)
    context = import_from(tmp_path, tmp_path / "uid.ms")
    assert context.steps["import_data"].state is StepState.DONE
    observation = context.observation
    assert observation is not None
    assert [(one.name, one.label) for one in observation.windows] == [("spw0", "ALMA_RB_06#BB_1#SW-01#FULL_RES_1")]
    outcome = context.steps["import_data"].outcome
    assert outcome is not None
    message = outcome.message
    assert "left out: window 0 of uid (WVR#NOMINAL_0: 4 channels of I, no cross-correlations)" in message
    assert "window 2 of uid (ALMA_RB_06#BB_1#SW-01#CH_AVG_2: the average of another window in one channel)" in message
    assert observation.extension == AlmaExtension(arrays=("12m",), bands={"spw0": 6}, receivers={"spw0": "ALMA_RB_06"})
    assert [one.name for one in observation.fields] == ["J1058+0133", "disc"]
    assert observation.project.code == "uid://A001/X1/X2"
    for partition in observation.partitions:
        assert partition.polarizations == ("XX", "YY")
        expected = simulate_block(ALMA, partition.field)
        found = load_visibilities(address(tmp_path, partition))
        np.testing.assert_array_equal(found.visibilities, expected.visibilities)
        np.testing.assert_array_equal(found.uvw_m, expected.uvw_m)


def test_meerkat_with_four_correlations_and_intents_of_its_own(tmp_path: Path, msv2: ModuleType) -> None:
    modes = ["CALIBRATE_FLUX,CALIBRATE_BANDPASS", "CALIBRATE_PHASE,CALIBRATE_AMPLI", "TARGET"]
    msv2.write_simulated_msv2(tmp_path / "mk.ms", MEERKAT, modes=modes)
    context = import_from(tmp_path, tmp_path / "mk.ms", intents=["bandpass", "target"])
    observation = context.observation
    assert observation is not None
    assert observation.extension == MeerkatExtension(bands={"spw0": "L"})
    assert {one.name: one.intents for one in observation.fields} == {
        "3C286": ("CALIBRATE_FLUX#ON_SOURCE", "CALIBRATE_BANDPASS#ON_SOURCE"),
        "field": ("OBSERVE_TARGET#ON_SOURCE",),
    }
    assert observation.antennas[0].name == "m002"
    outcome = context.steps["import_data"].outcome
    assert outcome is not None
    (score,) = [one for one in outcome.qa if one.name == "baseline vectors against antenna positions"]
    assert score.value == pytest.approx(1.0, abs=1e-9)
    (partition,) = context.visibilities("target")
    assert partition.polarizations == ("XX", "XY", "YX", "YY")
    found = load_visibilities(address(tmp_path, partition))
    np.testing.assert_array_equal(found.visibilities, simulate_block(MEERKAT, "field").visibilities)


@pytest.mark.slow
def test_a_mosaic_is_refused_and_one_pointing_of_it_is_not(tmp_path: Path, msv2: ModuleType) -> None:
    msv2.write_simulated_msv2(tmp_path / "m.ms", ALMA, offsets_rad=(5e-5, 1e-4))
    record = import_from(tmp_path, tmp_path / "m.ms").steps["import_data"]
    assert record.state is StepState.FAILED
    assert record.error is not None
    assert (
        "the source disc was observed at 3 pointings (disc_1, disc_2, disc_3), up to 0.34 arcmin apart" in record.error
    )
    context = import_from(tmp_path, tmp_path / "m.ms", fields=["J*", "disc_2"])
    assert context.observation is not None
    assert [one.name for one in context.observation.fields] == ["J1058+0133", "disc_2"]


def test_system_temperatures_and_gain_curves_that_nobody_applies_are_named(tmp_path: Path) -> None:
    folder = simulate_observation(str(tmp_path / "raw.ps.zarr"), MEERKAT)
    assert folder is not None
    groups = [path for path in (tmp_path / "raw.ps.zarr").iterdir() if path.is_dir()]
    for group in groups:
        stores.create_group(str(group / "system_calibration_xds"), {"type": "system_calibration"})
    stores.create_group(str(groups[0] / "gain_curve_xds"), {"type": "gain_curve"})
    outcome = import_from(tmp_path, tmp_path / "raw.ps.zarr").steps["import_data"].outcome
    assert outcome is not None
    assert "gain curves of raw" in outcome.message
    assert "are not applied by any stage: if these data are raw, let CASA do it before the import" in outcome.message
    assert sorted(outcome.summary["not_applied"]) == ["gain curves of raw", "system temperatures of raw"]


def test_baseline_vectors_of_the_other_sign_are_found(tmp_path: Path) -> None:
    source = str(tmp_path / "sim.ps.zarr")
    truth = simulate_observation(source, MEERKAT)
    for url in truth.partitions.values():
        uvw = stores.open_array(stores.join_url(url, "UVW"), mode="r+")
        uvw[...] = -np.asarray(uvw[...])
    record = import_from(tmp_path, Path(source), copy_msv4="always").steps["import_data"]
    assert record.outcome is not None
    assert record.outcome.status is OutcomeStatus.CAVEATS
    assert "baseline vectors are the negative of those of the antenna positions: if the" in record.outcome.message
