"""The stages that flag, run one after the other in this process, against the simulated truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import radps
from radps.api import Run
from radps.data.demo_observation import demo_observation
from radps.data.observation_model import Band, ObservationModel, SimulatedScan, VlaLayout
from radps.data.stores import load_array
from radps.data.visibilities import VisibilityChunk, create_like, load_visibilities
from radps.domain.array import horizontal_direction
from radps.domain.rfi import find_strategy_file
from radps.errors import StageError
from radps.node_tasks.blocks import Block
from radps.node_tasks.flag_writing import FlagJob, FlagTarget
from radps.node_tasks.interference import flag_interference_block

FLUX, PHASE, TARGET = "3C286", "J1445+0958", "N5921"
CARRIERS = (9, 40)
DEAD = "ea03"
MIN_ELEVATION = np.deg2rad(56.5)
"""The target is below it in the last scan."""


def make_model() -> ObservationModel:
    """An hour on 8 antennas, 64 channels, two carriers, one dead antenna."""
    tiny = demo_observation("tiny")
    scans = [(FLUX, 8), (PHASE, 5), (TARGET, 40), (PHASE, 5), (TARGET, 40), (PHASE, 5)]
    changes: dict[str, Any] = {
        "layout": VlaLayout(configuration="D", n_antennas=8),
        "band": Band(start_frequency=1.4126e9, channel_width=24.4e3, n_channels=64),
        "integration_time": 20.0,
        "scans": tuple(SimulatedScan(field=field, n_integrations=number) for field, number in scans),
        "interference": tiny.interference.model_copy(update={"carrier_channels": CARRIERS, "carrier_flux": 50.0}),
        "dead_antennas": (DEAD,),
        "noisy_antennas": (),
    }
    return tiny.model_copy(update=changes)


MODEL = make_model()
STEPS = (
    {"simulate": {"observation": MODEL.model_dump(mode="json")}},
    "import_data",
    {"flag": {"min_elevation": f"{np.rad2deg(MIN_ELEVATION)} deg", "edge_channels": 0.07, "shadow": True}},
    {"flag_rfi": {"integrations": 40}},
    "set_model",
    {"calibrate": {"gain_channels": "10~39"}},
    "apply_calibration",
    "flag_outliers",
    {
        "id": "clip",
        "stage": "flag",
        "params": {"clip": [{"fields": [TARGET], "highest": 0.6, "polarizations": ["LL"]}]},
    },
    {"id": "undo", "stage": "restore_flags", "params": {"version": "apply_calibration"}},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All stages that flag."""
    pytest.importorskip("aoflagger", reason="interference needs radps[rfi]")
    folder = tmp_path_factory.mktemp("flags") / "run"
    return radps.run({"run": str(folder), "cluster": "none", "steps": list(STEPS)}, progress=False)


def load(run: Run, field: str, version: str, group: str = "base") -> VisibilityChunk:
    """Read the data of a field with the flags of a version."""
    (partition,) = run.context.visibilities(field)
    flags = next(one for one in run.context.flag_versions if one.name == version).flags[partition.name][group]
    address = run.context.address(partition, group)
    return load_visibilities(address.model_copy(update={"flag": run.context.locate(flags)}))


def found_by(run: Run, field: str, step: str, before: str, group: str = "base") -> NDArray[np.bool_]:
    """Return the flags that a step added."""
    return load(run, field, step, group).flags & ~load(run, field, before, group).flags


def test_each_step_that_flags_leaves_a_version(run: Run) -> None:
    versions = run.context.flag_versions
    assert [one.name for one in versions] == [
        "import_data", "flag", "flag_rfi", "apply_calibration", "flag_outliers", "clip", "undo",
    ]  # fmt: skip
    (target,) = run.context.visibilities(TARGET)
    assert list(versions[0].flags[target.name]) == ["base"]
    assert list(versions[-1].flags[target.name]) == ["base", "corrected"]
    assert versions[2].stage == "flag_rfi"
    assert "strategy generic-default" in versions[2].message
    for number in range(len(versions) - 2):  # until flags are restored none is lost
        before, after = versions[number : number + 2]
        assert not (load(run, TARGET, before.name).flags & ~load(run, TARGET, after.name).flags).any()


def test_low_elevations_are_flagged(run: Run) -> None:
    data = load(run, TARGET, "flag")
    field = MODEL.find_field(TARGET)
    array = MODEL.layout.build(np.random.default_rng(0))
    elevation = horizontal_direction(array.positions_m, data.time_s, field.ra, field.dec).elevation_rad
    low = elevation < MIN_ELEVATION
    assert 0.02 < low.mean() < 0.9
    crosses = data.antenna1 != data.antenna2
    inside = data.flags[:, crosses, 4:-4]
    assert inside[low].all()
    assert not inside[~low].all(axis=(1, 2, 3)).any()


def test_carriers_are_found_in_raw_data(run: Run) -> None:
    before = load(run, TARGET, "flag")
    seeing = (before.antenna1 != 2) & (before.antenna2 != 2)  # a dead antenna has no interference either
    found = found_by(run, TARGET, "flag_rfi", "flag")[:, seeing]
    left = ~before.flags[:, seeing]
    # Carriers of about 50 Jy in noise of 0.1 Jy.
    assert found[:, :, CARRIERS][left[:, :, CARRIERS]].mean() > 0.999
    others = np.delete(np.arange(64), CARRIERS)
    # As for simulated noise (unit test of the kernel), and a little where scans meet.
    assert found[:, :, others][left[:, :, others]].mean() < 0.03


def test_the_dead_antenna_is_flagged_in_all_versions_of_the_data(run: Run) -> None:
    for group in ("base", "corrected"):
        data = load(run, TARGET, "flag_outliers", group)
        assert data.flags[:, (data.antenna1 == 2) | (data.antenna2 == 2)].all()
    before = load(run, TARGET, "flag_rfi")
    found = found_by(run, TARGET, "flag_outliers", "apply_calibration")
    alive = (before.antenna1 != 2) & (before.antenna2 != 2)
    assert not found[:, alive].any()
    assert found[:, ~alive].any()
    outcome = run.context.steps["flag_outliers"].outcome
    assert outcome is not None
    assert f"bad: {DEAD} R in spw0, {DEAD} L in spw0" in outcome.message
    (one, *_) = outcome.summary["outliers"]["gain_spw0"]
    assert (one["antenna"], one["receptor"], one["missing"]) == (DEAD, "R", 1.0)


def test_amplitudes_are_clipped_in_one_hand_of_one_field(run: Run) -> None:
    data = load(run, TARGET, "flag_outliers", "corrected")
    found = found_by(run, TARGET, "clip", "flag_outliers", "corrected")
    expected = (np.abs(data.visibilities) > 0.6) & ~data.flags
    expected[..., 0] = False
    np.testing.assert_array_equal(found, expected)
    assert expected.any()
    np.testing.assert_array_equal(load(run, TARGET, "clip").flags, load(run, TARGET, "flag_outliers").flags | found)
    assert not found_by(run, FLUX, "clip", "flag_outliers", "corrected").any()


def test_flags_are_restored_without_a_copy(run: Run) -> None:
    versions = {one.name: one.flags for one in run.context.flag_versions}
    assert versions["undo"] == versions["apply_calibration"] != versions["clip"]
    record = run.context.steps["undo"]
    assert record.outcome is not None
    assert "flags as after step 'apply_calibration'" in record.outcome.message
    counts = record.outcome.summary["fields"][TARGET]
    assert counts["before"] == load(run, TARGET, "clip", "corrected").flags.sum() > counts["after"]


def test_the_table_of_flags_says_what_the_flags_say(run: Run) -> None:
    table = run.context.tree["flag_rfi/spw0/flags"].to_dataset().sel(field_name=TARGET)
    before, after = load(run, TARGET, "flag").flags, load(run, TARGET, "flag_rfi")
    assert table.CHANNEL.sel(count="data").values.tolist() == [before[:, :, 0].size] * 64
    np.testing.assert_array_equal(table.CHANNEL.sel(count="before"), before.sum(axis=(0, 1, 3)))
    np.testing.assert_array_equal(table.CHANNEL.sel(count="after"), after.flags.sum(axis=(0, 1, 3)))
    np.testing.assert_array_equal(table.POLARIZATION.sel(count="after"), after.flags.sum(axis=(0, 1, 2)))
    of_dead = (after.antenna1 == 2) | (after.antenna2 == 2)
    assert int(table.ANTENNA.sel(antenna_name=DEAD, count="after")) == after.flags[:, of_dead].sum()
    np.testing.assert_allclose(table.frequency, after.frequency_hz)


def test_batches_of_baselines_make_no_difference(run: Run, tmp_path: Path) -> None:
    (partition,) = run.context.visibilities(PHASE)
    address = run.context.address(partition, "base")
    flags = []
    for baselines_at_once in (5, 1000):
        url = create_like(address, f"{tmp_path}/{baselines_at_once}.zarr", "FLAG_RFI")
        job = FlagJob(PHASE, "spw0", 8, 64, (FlagTarget(address.flag, url),))
        block = Block(partition=partition.name, address=address, times=(0, partition.shape[0]), channels=(0, 64))
        flag_interference_block(block, "generic-default", baselines_at_once, partition.chunks[1], job)
        flags.append(load_array(url))
    np.testing.assert_array_equal(*flags)
    assert flags[0].mean() > 0.02


@pytest.mark.parametrize(
    ("step", "params", "message"),
    [
        ("flag_rfi", {"strategy": "loud"}, "there is no strategy 'loud' for AOFlagger"),
        ("flag_rfi", {"strategy": "/nowhere/my.lua"}, "no strategy of AOFlagger at /nowhere/my.lua"),
        ("flag_rfi", {"data_group": "corrected"}, "has no data group 'corrected' to flag; it has: base"),
        ("clip", {"clip": [{"polarizations": ["XX"]}]}, "clip: there is no polarization 'XX'; there are: RR, LL"),
        ("clip", {"clip": [{"lowest": 3, "highest": 2}]}, "clip: found a range from 3 to 2"),
        ("flag", {"min_elevation": "30 deg", "max_elevation": "20 deg"}, "found limits of 30 and 20 deg"),
        ("undo", {"version": "nothing"}, "no version of the flags 'nothing'.*import_data"),
    ],
)
def test_mistakes_are_refused(run: Run, step: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError, match=message):
        run.try_step(step, **params)


def test_a_strategy_of_ones_own_is_used(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "keen.lua"
    generic = Path(find_strategy_file("generic-default")).read_text()
    own.write_text(generic.replace("base_threshold = 1.0", "base_threshold = 0.3"))
    with run.try_step("flag_rfi", strategy=str(own)) as trial:
        assert "strategy keen.lua" in trial.outcome.message
        keen = trial.outcome.summary["fields"][TARGET]["after"]
    outcome = run.context.steps["flag_rfi"].outcome
    assert outcome is not None
    assert keen > 1.2 * outcome.summary["fields"][TARGET]["after"]
