"""What the import does on a worker: find, create, copy; each step alone, and safe to do again."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from radps.data import measurement_set, msv4, stores
from radps.data.addresses import VisibilityAddress
from radps.data.measurement_set_metadata import read_description
from radps.data.sources import SourceKind
from radps.data.visibilities import load_visibilities
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import DataError, ResourceError, SelectionError
from radps.node_tasks import importing
from radps.node_tasks.importing import (
    COPY_BYTES_PER_VISIBILITY,
    CopyBlock,
    CopySummary,
    DataSet,
    ImportPlan,
    copy_block,
    create_partitions,
    find_dataset,
    merge_copy_summaries,
    remove_scratch,
)


def create(folder: Path, *datasets: DataSet, **changes: Any) -> ImportPlan:
    """Create the partitions of data sets."""
    options = {"intents": {}, "data_group": "base", "keep": True, **changes}
    return create_partitions(list(datasets), str(folder / "out"), str(folder / "recipes.zarr"), **options)


def copy(folder: Path, plan: ImportPlan, *, step: int | None = None) -> CopySummary:
    """Copy all partitions, in blocks of one zarr chunk of times and ``step`` chunks of channels."""
    summaries = []
    for partition in plan.partitions:
        n_times, _, n_channels, _ = partition.shape
        width = n_channels if step is None else partition.chunks[1] * step
        for first in range(0, n_times, partition.chunks[0]):
            for start in range(0, n_channels, width):
                block = CopyBlock(
                    url=partition.url,
                    recipe=str(folder / "recipes.zarr" / partition.name),
                    times=(first, min(first + partition.chunks[0], n_times)),
                    channels=(start, min(start + width, n_channels)),
                )
                summaries.append(copy_block(block))
    return merge_copy_summaries(summaries)


def uvfits(folder: Path, datasets: ModuleType, **changes: Any) -> tuple[DataSet, Any]:
    truth = datasets.write_uvfits(folder / "a.fits", **changes)
    return find_dataset(str(folder / "a.fits"), "a", str(folder / "scratch")), truth


def test_a_uvfits_file_is_copied_sample_by_sample(tmp_path: Path, datasets: ModuleType) -> None:
    dataset, truth = uvfits(tmp_path, datasets, time_system="UTC", n_channels=7)
    plan = create(tmp_path, dataset)
    summary = copy(tmp_path, plan)
    assert plan.idle_antennas == ("VA04",)
    start_s = (datasets.START_JD - 2440587.5) * 86400
    seen = 0
    for partition, number in zip(plan.partitions, (1, 2), strict=True):
        data = load_visibilities(VisibilityAddress.of_measurement_set(partition.url))
        raw = stores.load_array(stores.join_url(partition.url, "VISIBILITY"))
        weights = stores.load_array(stores.join_url(partition.url, "WEIGHT"))
        flags = stores.load_array(stores.join_url(partition.url, "FLAG"))
        for row in np.flatnonzero(truth.source == number):
            time = np.argmin(np.abs(data.time_s - start_s - truth.seconds[row]))
            pair = (data.antenna1 == truth.antenna1[row]) & (data.antenna2 == truth.antenna2[row])
            place = (time, int(np.flatnonzero(pair)[0]))
            samples = truth.samples[row, 0]
            np.testing.assert_array_equal(raw[place], samples[..., 0] + 1j * samples[..., 1])
            np.testing.assert_array_equal(weights[place], np.abs(samples[..., 2]))
            np.testing.assert_array_equal(flags[place], samples[..., 2] <= 0)
            np.testing.assert_allclose(data.uvw_m[place], truth.uvw_s[row] * SPEED_OF_LIGHT_M_S, rtol=1e-6)
            seen += 1
        missing = np.isnan(raw).all(axis=(2, 3))
        assert flags[missing].all()
    assert seen == len(truth.samples)
    assert summary.n_visibilities == (len(truth.samples) + 1) * 14
    assert summary.n_missing == 14, "one row was not written"
    assert summary.n_flagged == 14 + np.count_nonzero(truth.samples[..., 2] <= 0)
    assert summary.n_unflagged[3] == 0
    # each unflagged sample of a baseline of two antennas counts for both
    cross = truth.antenna1 != truth.antenna2
    assert sum(summary.n_unflagged) == 2 * np.count_nonzero(truth.samples[cross, ..., 2] > 0)


def test_the_copy_does_not_depend_on_how_it_is_cut(tmp_path: Path, datasets: ModuleType) -> None:
    dataset, _ = uvfits(tmp_path, datasets, n_channels=7, n_windows=2, channel_width_hz=-24414.0625)
    results = []
    for name, step in (("one", None), ("many", 1)):
        folder = tmp_path / name
        plan = create(folder, dataset)
        # chunks of real data are of megabytes: these are made small to have several
        smaller = [partition._replace(chunks=(2, 3)) for partition in plan.partitions]
        for partition, part in zip(smaller, _parts(folder, plan), strict=True):
            stores.delete(partition.url)
            measurement_set.create_measurement_set(str(folder / "out/a.ps.zarr"), part, chunks=(2, 3))
        summary = copy(folder, plan._replace(partitions=tuple(smaller)), step=step)
        arrays = [
            stores.load_array(stores.join_url(partition.url, variable))
            for partition in plan.partitions
            for variable in ("VISIBILITY", "FLAG", "WEIGHT", "UVW")
        ]
        results.append((summary, arrays))
    (summary, arrays), (other_summary, other_arrays) = results
    assert summary == other_summary
    for one, other in zip(arrays, other_arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def _parts(folder: Path, plan: ImportPlan) -> list[Any]:
    return [read_description(partition.url)._replace(name=partition.name) for partition in plan.partitions]


def test_an_msv2_becomes_one_partition_a_field(tmp_path: Path, datasets: ModuleType) -> None:
    truth = datasets.write_msv2(tmp_path / "a.ms")
    dataset = find_dataset(str(tmp_path / "a.ms"), "a", str(tmp_path / "scratch.ps.zarr"))
    assert dataset.kind is SourceKind.MSV2
    plan = create(tmp_path, dataset)
    summary = copy(tmp_path, plan)
    assert [partition.field for partition in plan.partitions] == ["3C286", "N5921_2"]
    assert plan.partitions[0].intents == (
        "CALIBRATE_FLUX#ON_SOURCE",
        "CALIBRATE_BANDPASS#ON_SOURCE",
        "CALIBRATE_PHASE#ON_SOURCE",
    )
    assert plan.antennas.names == ("VA01", "VA02", "VA03", "VA04")
    assert [scan.name for scan in plan.partitions[0].scans] == ["1", "3"]
    assert summary.n_missing == 10, "one row was not written"
    first = plan.partitions[0]
    data = stores.load_array(stores.join_url(first.url, "VISIBILITY"))
    times = stores.load_array(stores.join_url(first.url, "time"))
    for row in np.flatnonzero(truth.field == 0):
        time = int(np.flatnonzero(times == truth.unix_s[row])[0])
        # baselines are those of np.triu_indices, in its order
        baseline = int(np.flatnonzero([*map(all, zip(*_pairs(first.url, truth, row), strict=True))])[0])
        np.testing.assert_array_equal(data[time, baseline], truth.data[row])


def _pairs(url: str, truth: Any, row: int) -> tuple[Any, Any]:
    """Return for each baseline whether its antennas are those of a row."""
    one = read_description(url)
    return one.antenna1 == truth.antenna1[row], one.antenna2 == truth.antenna2[row]


def test_an_msv4_that_suits_is_not_copied(tmp_path: Path, datasets: ModuleType) -> None:
    dataset, _ = uvfits(tmp_path, datasets)
    first = create(tmp_path, dataset)
    copy(tmp_path, first)
    again = DataSet("b", str(tmp_path / "out/a.ps.zarr"), SourceKind.MSV4, str(tmp_path / "out/a.ps.zarr"))
    kept = create(tmp_path / "second", again)
    assert [partition.is_copied for partition in kept.partitions] == [False, False]
    # groups come in the order of their names
    assert {partition.url for partition in kept.partitions} == {partition.url for partition in first.partitions}
    assert not (tmp_path / "second").exists(), "nothing is made where nothing is copied"
    copied = create(tmp_path / "third", again, keep=False)
    summary = copy(tmp_path / "third", copied)
    assert summary.n_visibilities > 0
    for one, other in zip(kept.partitions, copied.partitions, strict=True):
        for variable in ("VISIBILITY", "FLAG", "WEIGHT", "UVW"):
            np.testing.assert_array_equal(
                stores.load_array(stores.join_url(one.url, variable)),
                stores.load_array(stores.join_url(other.url, variable)),
            )


def test_a_block_may_be_copied_twice(tmp_path: Path, datasets: ModuleType) -> None:
    dataset, _ = uvfits(tmp_path, datasets)
    plan = create(tmp_path, dataset)
    first = copy(tmp_path, plan)
    before = stores.load_array(stores.join_url(plan.partitions[0].url, "VISIBILITY"))
    assert copy(tmp_path, plan) == first
    np.testing.assert_array_equal(before, stores.load_array(stores.join_url(plan.partitions[0].url, "VISIBILITY")))
    again = create(tmp_path, dataset)
    assert [partition.name for partition in again.partitions] == [partition.name for partition in plan.partitions]


def test_unknown_fields_and_data_without_baselines_are_refused(tmp_path: Path, datasets: ModuleType) -> None:
    dataset, _ = uvfits(tmp_path, datasets)
    with pytest.raises(SelectionError, match=r"data.intents names '3C48'.*fields: 3C286, N5921_2"):
        create(tmp_path, dataset, intents={"3C48": ("CALIBRATE_FLUX#ON_SOURCE",)})
    plan = create(tmp_path, dataset)
    stores.delete(stores.join_url(plan.partitions[1].url))
    for number in (1, 2):
        url = stores.join_url(plan.partitions[0].url, f"baseline_antenna{number}_name")
        stores.save_array(url, ["VA01"] * plan.partitions[0].shape[1], dims=("baseline_id",), overwrite=True)
    alone = DataSet("b", plan.partitions[0].url, SourceKind.MSV4, plan.partitions[0].url)
    with pytest.raises(DataError, match="the data hold no cross-correlations: 1 partitions with 1 antennas"):
        create(tmp_path / "second", alone)


def test_a_copy_that_does_not_fit_on_the_disk_is_refused_before_it_begins(
    tmp_path: Path, datasets: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, _ = uvfits(tmp_path, datasets)
    monkeypatch.setattr(stores, "free_bytes", lambda url: 100)
    with pytest.raises(ResourceError, match=r"stage import_data: the copy of 2 partitions needs .* has 100 B free"):
        create(tmp_path, dataset)
    assert not (tmp_path / "out").exists()


def test_the_second_part_fills_what_the_first_one_leaves(tmp_path: Path) -> None:
    shape = (2, 3, 4, 2)
    first, second = msv4.empty_cells(shape), msv4.empty_cells(shape)
    for cells, value, rows in ((first, 1.0, slice(0, 1)), (second, 2.0, slice(0, 2))):
        cells.visibilities[rows], cells.weights[rows], cells.flags[rows], cells.uvw_m[rows] = value, value, False, value
    joined = importing._overlay(first, second)
    np.testing.assert_array_equal(joined.visibilities[:, 0, 0, 0], [1.0, 2.0])
    np.testing.assert_array_equal(joined.uvw_m[:, 0, 0], [1.0, 2.0])
    assert not joined.flags.any()


def test_scratch_is_removed_and_may_be_gone(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "recipes.zarr").mkdir(parents=True)
    for _ in range(2):
        remove_scratch((str(tmp_path / "scratch"),))
        assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("kind", ["uvfits", "msv4"])
def test_memory_of_a_copy_stays_within_the_plan(tmp_path: Path, datasets: ModuleType, kind: str) -> None:
    dataset, _ = uvfits(tmp_path, datasets, times_of_fields=(80, 40), n_channels=512)
    plan = create(tmp_path, dataset)
    if kind == "msv4":
        copy(tmp_path, plan)
        again = DataSet("b", str(tmp_path / "out/a.ps.zarr"), SourceKind.MSV4, str(tmp_path / "out/a.ps.zarr"))
        tmp_path = tmp_path / "second"
        plan = create(tmp_path, again, keep=False)
    copy(tmp_path, plan._replace(partitions=plan.partitions[1:]))  # what is made once: caches, imports
    largest = max(plan.partitions, key=lambda partition: partition.shape[0])
    tracemalloc.start()
    copy(tmp_path, plan._replace(partitions=(largest,)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    n_visibilities = int(np.prod(largest.shape))
    assert n_visibilities * COPY_BYTES_PER_VISIBILITY > 20e6, "large enough for the rest not to matter"
    # 1.3: what a task may use beyond the plan
    assert peak < 1.3 * COPY_BYTES_PER_VISIBILITY * n_visibilities
    assert peak > 0.4 * COPY_BYTES_PER_VISIBILITY * n_visibilities, "the plan asks for far more than is used"


def test_partitions_that_are_created_again_keep_what_was_copied_since(tmp_path: Path, datasets: ModuleType) -> None:
    dataset, _ = uvfits(tmp_path, datasets)
    plan = create(tmp_path, dataset)
    copy(tmp_path, plan)
    urls = [stores.join_url(partition.url, "VISIBILITY") for partition in plan.partitions]
    before = [stores.load_array(url) for url in urls]
    create(tmp_path, dataset)
    for url, values in zip(urls, before, strict=True):
        np.testing.assert_array_equal(stores.load_array(url), values)
