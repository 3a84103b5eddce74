"""The stage import_data as the runner drives it: what it finds, what it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from radps.context.model import Context
from radps.context.records import OutcomeStatus, StepState, VlaExtension
from radps.data import stores
from radps.data.demo_observation import demo_observation
from radps.data.listing import list_dataset
from radps.data.simulate import simulate_observation
from radps.data.visibilities import load_visibilities
from radps.errors import DataError, SelectionError
from radps.execution.engine import InProcess
from radps.stages.import_data import _dataset_names, _full_intents
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner


def run(folder: Path, paths: list[Path], memory_bytes: int = 2**30, **changes: Any) -> tuple[Context, Runner]:
    """Run the import alone."""
    config = {
        "data": {"path": [str(path) for path in paths], "intents": changes.pop("intents", {})},
        "run": changes.pop("url", str(folder / "run")),
        "cluster": "none",
        "steps": [{"import_data": changes}],
    }
    runner = Runner(load_workflow(config), engine=InProcess(memory_bytes))
    return runner.run(), runner


def failure(folder: Path, paths: list[Path], **changes: Any) -> str:
    """Return what a failed import says."""
    context, _ = run(folder, paths, **changes)
    record = context.steps["import_data"]
    assert record.state is StepState.FAILED
    assert context.observation is None
    assert record.error is not None
    return record.error


def test_a_uvfits_file_becomes_an_observation(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_uvfits(tmp_path / "NGC 1.fits")
    intents = {"3C286": ["flux", "bandpass"], "N5921_2": ["target"]}
    context, _ = run(tmp_path, [tmp_path / "NGC 1.fits"], intents=intents)
    observation = context.require_observation()
    assert (observation.telescope, observation.observer, observation.datasets) == ("VLA", "TEST", ("NGC_1",))
    assert [field.name for field in observation.fields] == ["3C286", "N5921_2"]
    assert observation.fields[0].intents == ("CALIBRATE_FLUX#ON_SOURCE", "CALIBRATE_BANDPASS#ON_SOURCE")
    assert context.field_names("target") == ("N5921_2",)
    assert [(scan.name, scan.field) for scan in observation.scans] == [("1", "3C286"), ("2", "N5921_2"), ("3", "3C286")]
    first = observation.scans[0]
    assert first.stop_s - first.start_s == pytest.approx(2 * datasets.INTEGRATION_S, abs=1e-4)
    (window,) = observation.windows
    assert (window.name, window.n_channels, window.frame) == ("spw0", 5, "LSRK")
    assert window.rest_frequency_hz == 1.420405752e9
    assert window.frequency_hz == pytest.approx((1.41e9, 1.41e9 + 4 * 24414.0625))
    positions = datasets.ANTENNA_POSITIONS_M[:3]
    longest = max(np.linalg.norm(one - other) for one in positions for other in positions)
    assert observation.longest_baseline_m == pytest.approx(longest, abs=1e-6)
    wavelength = 299_792_458.0 / (1.41e9 + 2 * 24414.0625)
    assert observation.synthesized_beam_rad == pytest.approx(wavelength / longest)
    outcome = context.steps["import_data"].outcome
    assert outcome is not None
    assert "no usable data of VA04" in outcome.message
    assert outcome.summary["antennas_without_data"] == ["VA04"]
    assert outcome.summary["missing"] == 10
    (unflagged,) = [score.value for score in outcome.qa if score.name == "unflagged data"]
    assert unflagged == pytest.approx(np.mean(truth.samples[..., 2] > 0))
    assert outcome.summary["integration_times_s"] == [30.0]


def test_partitions_are_complete_and_scratch_is_gone(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_uvfits(tmp_path / "a.fits", n_windows=2)
    context, _ = run(tmp_path, [tmp_path / "a.fits"])
    partitions = context.require_observation().partitions
    assert [(one.field, one.window) for one in partitions] == [
        ("3C286", "spw0"),
        ("3C286", "spw1"),
        ("N5921_2", "spw0"),
        ("N5921_2", "spw1"),
    ]
    assert sorted(path.name for path in (tmp_path / "run" / "visibilities").iterdir()) == ["import_data-1"]
    bound = context.at(_place(tmp_path))
    total = 0
    for one in partitions:
        assert not one.path.startswith("/"), "a copy of the run folder at another place has to work"
        data = load_visibilities(bound.address(one))
        assert data.visibilities.shape == one.shape
        assert one.scans[data.scan_names[0]][0] == 0
        assert {name: data.scan_names[slice(*span)] for name, span in one.scans.items()} == {
            name: (name,) * (span[1] - span[0]) for name, span in one.scans.items()
        }
        total += int(np.count_nonzero(~data.flags))
    assert total == np.count_nonzero(truth.samples[..., 2] > 0)


def test_the_processing_set_opens_in_xradio(tmp_path: Path, datasets: ModuleType) -> None:
    from xradio.measurement_set import open_processing_set
    from xradio.schema.check import check_datatree

    datasets.write_uvfits(tmp_path / "a.fits")
    run(tmp_path, [tmp_path / "a.fits"])
    tree = open_processing_set(str(tmp_path / "run" / "visibilities" / "import_data-1" / "a.ps.zarr"))
    assert len(tree.children) == 2
    for child in tree.children.values():
        assert not check_datatree(child)
        assert child.ds.VISIBILITY.dims == ("time", "baseline_id", "frequency", "polarization")


def _place(folder: Path) -> Any:
    from radps.context.model import Workspace

    return Workspace(url=str(folder / "run"))


def test_two_data_sets_share_antennas_fields_and_virtual_windows(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_uvfits(tmp_path / "day1.fits")
    datasets.write_msv2(tmp_path / "day2.ms")
    context, _ = run(tmp_path, [tmp_path / "day1.fits", tmp_path / "day2.ms"], intents={"3C286": ["flux"]})
    observation = context.require_observation()
    assert observation.datasets == ("day1", "day2")
    assert len(observation.antennas) == 4
    assert [field.name for field in observation.fields] == ["3C286", "N5921_2"]
    assert [(window.name, window.virtual) for window in observation.windows] == [("spw0", 0), ("spw1", 0)]
    assert [one.dataset for one in observation.partitions] == ["day1", "day1", "day2", "day2"]
    # the intents of the MSv2 stay where the config says nothing
    assert observation.fields[1].intents == ("OBSERVE_TARGET#ON_SOURCE",)
    assert sorted(path.name for path in (tmp_path / "run" / "visibilities").iterdir()) == ["import_data-1"]


def test_data_of_the_user_are_used_in_place_or_copied(tmp_path: Path) -> None:
    source = tmp_path / "mine.ps.zarr"
    simulate_observation(str(source), demo_observation("tiny"))
    stamps = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    context, _ = run(tmp_path / "a", [source])
    observation = context.require_observation()
    assert all(one.path.startswith(str(source)) for one in observation.partitions)
    assert context.at(_place(tmp_path / "a")).address(observation.partitions[0]).visibility.startswith(str(source))
    assert not (tmp_path / "a" / "run" / "visibilities").exists()
    copied, _ = run(tmp_path / "b", [source], copy_msv4="always")
    for one, other in zip(observation.partitions, copied.require_observation().partitions, strict=True):
        data = [
            load_visibilities(which.at(_place(tmp_path / name)).address(partition))
            for which, name, partition in ((context, "a", one), (copied, "b", other))
        ]
        for first, second in zip(*data, strict=True):
            np.testing.assert_array_equal(first, second)
    assert stamps == {path: path.stat().st_mtime_ns for path in source.rglob("*")}


@pytest.mark.parametrize("kind", ["uvfits", "msv2"])
def test_baselines_of_chosen_antennas_are_imported_as_they_are(tmp_path: Path, datasets: ModuleType, kind: str) -> None:
    source = tmp_path / "data"
    (datasets.write_uvfits if kind == "uvfits" else datasets.write_msv2)(source)
    data: list[dict[tuple[str, str, str], Any]] = []
    for name, wanted in (("all", ()), ("some", ("VA*", "!VA02"))):
        context, _ = run(tmp_path / name, [source], antennas=wanted)
        bound = context.at(_place(tmp_path / name))
        data.append({})
        for one in context.require_observation().partitions:
            found = load_visibilities(bound.address(one))
            ends = [stores.load_array(f"{bound.address(one).store}/baseline_antenna{n}_name").tolist() for n in (1, 2)]
            for number, (first, second) in enumerate(zip(*ends, strict=True)):
                data[-1][one.field, first, second] = (found.visibilities[:, number], found.uvw_m[:, number])
    everything, some = data
    assert set(some) == {key for key in everything if "VA02" not in key}
    assert len(some) < len(everything)
    for key, arrays in some.items():
        np.testing.assert_array_equal(arrays[0], everything[key][0])
        np.testing.assert_array_equal(arrays[1], everything[key][1])


def test_baselines_that_were_not_observed_are_no_flagged_data(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_uvfits(tmp_path / "a.fits")
    config = {
        "data": {"path": str(tmp_path / "a.fits")},
        "run": str(tmp_path / "run"),
        "cluster": "none",
        "steps": ["import_data", {"flag": {"autocorrelations": False}}],
    }
    outcome = Runner(load_workflow(config), engine=InProcess(2**30)).run().steps["flag"].outcome
    assert outcome is not None
    good = truth.samples[..., 2] > 0
    counts = outcome.summary["windows"]["spw0"]
    assert counts == {"data": good.size, "before": good.size - good.sum(), "after": good.size - good.sum()}
    assert outcome.summary["antennas_without_data"] == ["VA04"]


def test_a_run_in_memory(datasets: ModuleType, tmp_path: Path) -> None:
    datasets.write_uvfits(tmp_path / "a.fits")
    url = f"memory://{tmp_path.name}-import"
    context, _ = run(tmp_path, [tmp_path / "a.fits"], url=url)
    partition = context.require_observation().partitions[0]
    assert stores.exists(stores.join_url(url, partition.path))
    stores.delete(url)


def test_less_memory_means_smaller_blocks_and_the_same_data(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_uvfits(tmp_path / "a.fits", n_channels=30_000, times_of_fields=(4, 2))
    results = []
    for name, memory in (("much", 2**30), ("little", 30 * 2**20)):
        context, _ = run(tmp_path / name, [tmp_path / "a.fits"], memory_bytes=memory)
        bound = context.at(_place(tmp_path / name))
        partitions = context.require_observation().partitions
        arrays = [stores.load_array(bound.address(one).visibility) for one in partitions]
        results.append((context.steps["import_data"].tasks, arrays))
    assert results[0][0] < results[1][0]
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_data_that_are_all_flagged_are_an_outcome(tmp_path: Path, datasets: ModuleType) -> None:
    path = tmp_path / "a.fits"
    datasets.write_uvfits(path, all_flagged=True)
    context, _ = run(tmp_path, [path])
    outcome = context.steps["import_data"].outcome
    assert outcome is not None
    assert outcome.status is OutcomeStatus.CAVEATS
    assert "every visibility is flagged" in outcome.message
    scores = {score.name: score.score for score in outcome.qa}
    assert scores["unflagged data"] == 0.0
    assert scores["fields without intent"] == 0.0


def test_bad_input_fails_with_a_clear_word_and_leaves_nothing_behind(tmp_path: Path, datasets: ModuleType) -> None:
    whole = tmp_path / "a.fits"
    datasets.write_uvfits(whole)
    cut = tmp_path / "cut.fits"
    cut.write_bytes(whole.read_bytes()[:9000])
    assert "is truncated" in failure(tmp_path / "1", [cut])
    text = failure(tmp_path / "2", [whole], intents={"3C48": ["flux"]})
    assert "data.intents names '3C48', which the data do not have; fields: 3C286, N5921_2" in text
    assert "allowed are flux, bandpass" in failure(tmp_path / "3", [whole], intents={"3C286": ["fluxx"]})
    (tmp_path / "folder").mkdir()
    assert "is a folder with nothing in it" in failure(tmp_path / "4", [tmp_path / "folder"])
    assert "no data group 'corrected'" in failure(tmp_path / "5", [whole], data_group="corrected")
    assert "there is no data set" in failure(tmp_path / "6", [])
    for number in range(1, 7):
        assert not (tmp_path / str(number) / "run" / "visibilities").exists()


def test_a_file_that_vanishes_or_breaks_between_two_runs(tmp_path: Path, datasets: ModuleType) -> None:
    path = tmp_path / "a.fits"
    datasets.write_uvfits(path)
    before, _ = run(tmp_path, [path])
    path.write_bytes(path.read_bytes()[:9000])
    after, _ = run(tmp_path, [path])
    assert after.steps["import_data"].state is StepState.FAILED
    # the attempt before it is still whole, in its own folder
    one = before.require_observation().partitions[0]
    assert load_visibilities(before.at(_place(tmp_path)).address(one)).visibilities.shape == one.shape


def test_intents_of_the_config() -> None:
    assert _full_intents("a", ["flux", "phase", "flux"]) == ("CALIBRATE_FLUX#ON_SOURCE", "CALIBRATE_PHASE#ON_SOURCE")
    assert _full_intents("a", ["CALIBRATE_DELAY", "OBSERVE_CHECK#OFF_SOURCE"]) == (
        "CALIBRATE_DELAY#ON_SOURCE",
        "OBSERVE_CHECK#OFF_SOURCE",
    )
    with pytest.raises(SelectionError, match=r"field 'a' has the intent 'best'; allowed are flux, bandpass"):
        _full_intents("a", ["best"])


def test_names_of_data_sets_are_those_of_their_files() -> None:
    paths = ["/x/NGC5921.fits", "/y/NGC5921.ms/", "memory://z/night one.ps.zarr", "/x/.fits", "/x/raw"]
    assert _dataset_names(paths) == ("NGC5921", "NGC5921_2", "night_one", "data", "raw")


@pytest.mark.parametrize(
    ("params", "virtual"),
    [
        ({}, [0, 0]),
        ({"virtual_windows": "exact"}, [0, 1]),
        ({"virtual_windows": "overlap", "min_overlap": 0.999}, [0, 1]),
    ],
)
def test_virtual_windows_are_matched_as_the_config_says(
    tmp_path: Path, datasets: ModuleType, params: dict[str, Any], virtual: list[int]
) -> None:
    datasets.write_uvfits(tmp_path / "day1.fits")
    datasets.write_uvfits(tmp_path / "day2.fits", channel_width_hz=24500.0)
    context, _ = run(tmp_path, [tmp_path / "day1.fits", tmp_path / "day2.fits"], **params)
    observation = context.require_observation()
    assert [window.virtual for window in observation.windows] == virtual
    assert observation.virtual_matching == params.get("virtual_windows", "overlap")
    assert context.virtual_window("spw1").members == (("spw0", "spw1") if virtual == [0, 0] else ("spw1",))


def test_project_and_telescope_are_what_the_data_say(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.write_uvfits(tmp_path / "day1.fits", header={"PROJECT": "AB123"})
    datasets.write_uvfits(tmp_path / "day2.fits", header={"PROJECT": "AB124"}, telescope="MeerKAT")
    context, _ = run(tmp_path, [tmp_path / "day1.fits"])
    observation = context.require_observation()
    assert isinstance(observation.extension, VlaExtension)
    assert observation.extension.bands == {"spw0": "L"}
    (one,) = observation.project.datasets
    assert (one.name, one.telescope, one.project, one.observer) == ("day1", "VLA", "AB123", "TEST")
    assert observation.project.time_range_s == (observation.scans[0].start_s, observation.scans[-1].stop_s)
    assert (one.start_s, one.stop_s) == observation.project.time_range_s
    both, _ = run(tmp_path / "both", [tmp_path / "day1.fits", tmp_path / "day2.fits"])
    observation = both.require_observation()
    assert (observation.project.code, observation.telescope) == ("AB123, AB124", "VLA, MeerKAT")
    assert observation.extension is None


def test_the_stage_asks_for_data_before_any_task() -> None:
    from radps.context.model import Workspace
    from radps.stages.import_data import Params, import_data

    context = Context(run_id="x").at(Workspace(url="/nowhere", step="import_data"))
    with pytest.raises(DataError, match=r"there is no data set: name one by data\.path"):
        next(import_data(context, Params()))


def test_odd_rows_of_an_msv2_are_said(tmp_path: Path, datasets: ModuleType) -> None:
    """Rows that come twice are counted; without a weight, data are flagged; rows flagged as a whole are, too."""
    from arcae.lib.arrow_tables import Table

    truth = datasets.write_msv2(tmp_path / "a.ms")
    main = Table.from_filename(str(tmp_path / "a.ms"), readonly=False)
    n_rows = len(truth.data)
    names = ["TIME", "ANTENNA1", "ANTENNA2", "FIELD_ID", "DATA_DESC_ID", "STATE_ID", "SCAN_NUMBER", "UVW", "DATA"]
    columns = {name: main.getcol(name) for name in [*names, "FLAG", "SIGMA", "TIME_CENTROID", "INTERVAL"]}
    main.addrows(1)
    for name, values in columns.items():
        main.putcol(name, values[:1], index=(slice(n_rows, n_rows + 1),))
    weight = np.where(np.arange(n_rows + 1)[:, np.newaxis] % 2, 1.0, [0.0, -1.0])
    main.putcol("WEIGHT", weight.astype(np.float32))
    main.putcol("FLAG_ROW", np.arange(n_rows + 1) % 2 == 1)
    main.close()
    context, _ = run(tmp_path, [tmp_path / "a.ms"])
    outcome = context.steps["import_data"].outcome
    assert outcome is not None
    assert outcome.status is OutcomeStatus.CAVEATS
    assert "1 rows of a are of the same time, baseline, field and window as another one; one of each is used" in (
        outcome.message
    )
    assert "every visibility is flagged" in outcome.message
    assert outcome.summary["repeated_rows"] == {"a": 1}


def test_a_data_set_that_comes_twice_is_said(tmp_path: Path, datasets: ModuleType) -> None:
    """The noise would come out 1.4 times too low, and nobody would know why."""
    datasets.write_uvfits(tmp_path / "day.fits")
    datasets.write_uvfits(tmp_path / "copy.fits")
    context, _ = run(tmp_path, [tmp_path / "day.fits", tmp_path / "copy.fits"])
    outcome = context.steps["import_data"].outcome
    assert outcome is not None
    assert outcome.status is OutcomeStatus.CAVEATS
    assert "the same observation is in day and copy (3C286, N5921_2): its data count twice" in outcome.message
    assert outcome.summary["repeated"] == ["day and copy (3C286, N5921_2)"]


def test_an_antenna_without_a_position_is_refused(tmp_path: Path, datasets: ModuleType) -> None:
    """It was taken to stand in the middle of the Earth: baselines of 6,000 km, pixels of nothing."""
    positions = datasets.ANTENNA_POSITIONS_M.copy()
    positions[1] = 0.0
    datasets.write_msv2(tmp_path / "a.ms", positions_m=positions)
    text = failure(tmp_path, [tmp_path / "a.ms"])
    assert "1 of 4 antennas with data (VA02) have the position 0, 0, 0 or none" in text
    assert 'Correct them in the data, or leave them out (import_data: {antennas: ["!VA02"]})' in text
    context, _ = run(tmp_path / "without", [tmp_path / "a.ms"], antennas=["!VA02"])
    assert context.require_observation().longest_baseline_m < 500.0
    datasets.write_msv2(tmp_path / "b.ms", positions_m=0 * positions)
    text = failure(tmp_path / "none", [tmp_path / "b.ms"])
    assert "4 of 4 antennas with data" in text
    assert text.endswith("Correct them in the data (in task import_data.create_partitions-1)")


def test_baseline_vectors_of_zero_are_said(tmp_path: Path, datasets: ModuleType) -> None:
    from arcae.lib.arrow_tables import Table

    truth = datasets.write_msv2(tmp_path / "a.ms")
    main = Table.from_filename(str(tmp_path / "a.ms"), readonly=False)
    main.putcol("UVW", 0 * truth.uvw_m)
    main.close()
    context, _ = run(tmp_path, [tmp_path / "a.ms"])
    outcome = context.steps["import_data"].outcome
    assert outcome is not None
    assert outcome.status is OutcomeStatus.CAVEATS
    assert "every baseline vector (UVW) is zero" in outcome.message


def test_data_without_weights_are_said(tmp_path: Path) -> None:
    source = tmp_path / "mine.ps.zarr"
    simulate_observation(str(source), demo_observation("tiny"))
    for group in sorted(source.iterdir()):
        stores.delete(str(group / "WEIGHT"))
    context, _ = run(tmp_path, [source])
    outcome = context.steps["import_data"].outcome
    assert outcome is not None
    assert outcome.status is OutcomeStatus.CAVEATS
    assert "there are no weights in mine: each visibility has the weight 1" in outcome.message


def test_a_field_that_an_msv2_lists_twice_is_one_field(tmp_path: Path, datasets: ModuleType) -> None:
    """As in data sets that were put together: it was two fields, with numbers in place of its name."""
    from arcae.lib.arrow_tables import Table

    datasets.write_msv2(tmp_path / "a.ms")
    fields = Table.from_filename(str(tmp_path / "a.ms" / "FIELD"), readonly=False)
    fields.putcol("NAME", np.array(["3C286", "3C286"], object))
    fields.close()
    apart, _ = run(tmp_path / "apart", [tmp_path / "a.ms"])
    assert [field.name for field in apart.require_observation().fields] == ["3C286_0", "3C286_1"]
    fields = Table.from_filename(str(tmp_path / "a.ms" / "FIELD"), readonly=False)
    fields.putcol("PHASE_DIR", np.repeat(fields.getcol("PHASE_DIR")[:1], 2, axis=0))
    fields.close()
    observation = run(tmp_path, [tmp_path / "a.ms"])[0].require_observation()
    assert [field.name for field in observation.fields] == ["3C286"]
    (one,) = observation.partitions
    assert one.shape[0] == 6
    assert [field.name for field in list_dataset(str(tmp_path / "a.ms")).fields] == ["3C286"]


def test_a_source_that_a_uvfits_file_lists_twice_is_one_field(
    tmp_path: Path, datasets: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AIPS does so where its qualifiers differ."""
    first, second = datasets.FIELDS
    monkeypatch.setattr(datasets, "FIELDS", (first, first))
    truth = datasets.write_uvfits(tmp_path / "a.fits")
    observation = run(tmp_path, [tmp_path / "a.fits"])[0].require_observation()
    assert [field.name for field in observation.fields] == ["3C286"]
    (one,) = observation.partitions
    assert one.shape[0] == len(np.unique(truth.seconds))
    monkeypatch.setattr(datasets, "FIELDS", (first, ("3C286", *second[1:])))
    datasets.write_uvfits(tmp_path / "b.fits")
    observation = run(tmp_path / "b", [tmp_path / "b.fits"])[0].require_observation()
    assert [field.name for field in observation.fields] == ["3C286_1", "3C286_2"]
