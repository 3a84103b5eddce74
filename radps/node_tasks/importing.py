"""What the import does on a worker: look at the data sets, create the partitions, copy blocks of data into them.

How a partition is filled is written beside it, in a *recipe*: a zarr group with the addresses of its parts, and for
UVFITS files the map from (time, baseline) to the rows of the file. So what travels to the tasks that copy is small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from radps.data import measurement_set, msv2, msv2_rows, msv4, stores, uvfits
from radps.data.chunks import plan_storage_chunks
from radps.data.measurement_set import Antennas, MeasurementSetDescription
from radps.data.msv4 import Cells, Msv4Address
from radps.data.part_selection import DataSelection, select_parts
from radps.data.partitions import JoinedData, JoinedPartition, JoinedWindow, join_parts
from radps.data.repeated_data import find_repeated
from radps.data.sources import SourceKind, SourcePart, describe_source, find_source
from radps.data.uvfits import UvfitsAddress
from radps.data.virtual_windows import SAME_BAND, VirtualMatching
from radps.domain.array import Baselines, uvw_from_positions
from radps.domain.flagging import count_times
from radps.errors import DataError

COPY_BYTES_PER_VISIBILITY = 48
"""Peak memory of :func:`copy_block` for each visibility: 13 for the result, the rest for samples on their way."""

_NOWHERE_M = 1e-3
"""An antenna that is nearer to the centre of the Earth has no position."""

_BYTES_ON_DISK = 13
"""A visibility, its flag and its weight, uncompressed."""


EVERYTHING = DataSelection()
"""All data that a stage can use."""


class DataSet(NamedTuple):
    """A data set that was found."""

    name: str
    path: str
    """Where it is read: for MSv2, the processing set that is made of it."""
    kind: SourceKind
    original: str
    """Where it is, as the user gave it."""
    is_imported: bool = False
    """True if ``path`` is the copy that an attempt before has made."""
    n_repeated_rows: int = 0
    """Rows of an MSv2 that are of the same time and baseline as another one, and are not used."""


class ImportedScan(NamedTuple):
    """A scan of a partition."""

    name: str
    first: int
    """First time."""
    stop: int
    """One after the last time."""
    start_s: float
    """Start of the first integration, UTC [unix s]."""
    stop_s: float
    """End of the last integration."""


class ImportedPartition(NamedTuple):
    """A partition that was created, or a group that is used as it is."""

    name: str
    dataset: int
    window: int
    url: str
    is_copied: bool
    field: str
    source: str
    direction: tuple[float, float, str]
    """Right ascension, declination [rad], frame."""
    intents: tuple[str, ...]
    shape: tuple[int, int, int, int]
    chunks: tuple[int, int]
    polarizations: tuple[str, ...]
    integration_time_s: float
    """0 = unknown."""
    scans: tuple[ImportedScan, ...]
    variables: tuple[str, str, str, str]
    """Names of visibility, flag, weight and uvw."""
    cross_baselines: int = 0
    """Baselines of two different antennas."""


class ImportedWindow(NamedTuple):
    """A spectral window of one data set, without the frequencies of all its channels."""

    name: str
    virtual: int
    """Number of the virtual window."""
    frequency_hz: tuple[float, float]
    """First and last channel, ascending [Hz]."""
    n_channels: int
    channel_width_hz: float
    frame: str
    rest_frequency_hz: float
    """NaN = none given."""
    label: str
    """Its name in the data."""


class ImportedDataSet(NamedTuple):
    """What a data set says of itself; an empty text = nothing."""

    telescope: str
    observer: str
    project: str
    start_s: float
    """Start of its first integration, UTC [unix s]."""
    stop_s: float
    """End of its last integration."""


class ImportPlan(NamedTuple):
    """What was found in the data sets."""

    datasets: tuple[ImportedDataSet, ...]
    """In the order of the config."""
    antennas: Antennas
    windows: tuple[ImportedWindow, ...]
    partitions: tuple[ImportedPartition, ...]
    longest_baseline_m: float
    idle_antennas: tuple[str, ...]
    """Antennas without any baseline."""
    left_out: tuple[str, ...] = ()
    """Windows and scans that no stage could use, in words."""
    not_applied: tuple[str, ...] = ()
    """Corrections that came with the data and that no stage applies, in words."""
    repeated: tuple[str, ...] = ()
    """Data sets that hold the same observation, in words."""
    repeated_rows: tuple[tuple[str, int], ...] = ()
    """Data sets with rows that are not used, as another one is of the same time and baseline, and how many."""
    unweighted: tuple[str, ...] = ()
    """Data sets without weights."""


class CopyBlock(BaseModel):
    """A block of one partition to copy: whole zarr chunks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """The partition."""
    recipe: str
    """How it is filled."""
    times: tuple[int, int]
    channels: tuple[int, int]


class CopySummary(NamedTuple):
    """Counts of copied data; they add up by :func:`merge_copy_summaries`."""

    n_visibilities: int
    n_flagged: int
    """Flagged, those without data included."""
    n_missing: int
    """Without data: no such row, or not a number."""
    n_unflagged: tuple[int, ...]
    """Unflagged visibilities of each antenna with the others."""
    uvw_product_m2: float = 0.0
    """Sum over baselines and times: baseline vector times that of the antenna positions [m^2]."""
    uvw_norm_m2: float = 0.0
    """The same sum of the products of their lengths: equal where the vectors are as the positions say."""


def find_dataset(path: str, name: str, scratch: str) -> DataSet:
    """Find out what a data set is, and convert it if it is an MSv2.

    Parameters
    ----------
    path : str
        The data set.
    name : str
        Its name in the run.
    scratch : str
        Where the processing set of an MSv2 goes.

    Raises
    ------
    DataError
        It is missing, damaged, or of a kind that is not read.
    """
    kind = find_source(path)
    if kind is not SourceKind.MSV2:
        return DataSet(name, path, kind, path)
    where = msv2.convert_msv2(path, scratch)
    msv2_rows.flag_whole_rows(path, where)
    return DataSet(name, where, kind, path, n_repeated_rows=msv2_rows.count_repeated_rows(path))


def create_partitions(
    datasets: Sequence[DataSet],
    url: str,
    recipes: str,
    intents: Mapping[str, Sequence[str]],
    data_group: str,
    keep: bool,
    matching: VirtualMatching = "overlap",
    min_overlap: float = SAME_BAND,
    selection: DataSelection = EVERYTHING,
) -> ImportPlan:
    """Describe the data sets, join them, and create the partitions that data are to be copied into.

    Parameters
    ----------
    datasets : sequence of DataSet
        At least one.
    url : str
        Folder of the new processing sets, one for each data set of which something has to be copied.
    recipes : str
        Where the recipes go.
    intents : mapping
        Field -> MSv4 scan intents, in place of those of the data.
    data_group : str
        Version of the data of MSv2 and MSv4.
    keep : bool
        MSv4 groups that tasks can work on as they are stay where they are.
    matching, min_overlap
        How windows of different data sets are matched, as of
        :func:`radps.data.virtual_windows.match_virtual_windows`.
    selection : DataSelection
        What of the data sets is imported.

    Raises
    ------
    DataError
        The data are damaged or empty, have no cross-correlations, contradict each other, or hold a mosaic or a moving
        source.
    SelectionError
        ``intents`` or the selection name something that the data do not have, or nothing is selected.
    ResourceError
        The copy would not fit on the disk.
    """
    # A copy that an attempt before has made holds nothing but what was asked for then.
    parts = {one.name: _describe(one, "base" if one.is_imported else data_group) for one in datasets}
    new = [(one.name, parts[one.name]) for one in datasets if not one.is_imported]
    selected = select_parts(new, selection, intents, is_first=len(new) == len(datasets))
    parts.update(selected.datasets)
    joined = join_parts(list(parts.items()), intents, matching, min_overlap)
    copied = [one for one in joined.partitions if not (one.is_kept and (keep or datasets[one.dataset].is_imported))]
    _check_positions(joined)
    longest_m, idle = _measure_array(joined)
    needed = sum(int(np.prod(one.description.shape)) for one in copied) * _BYTES_ON_DISK
    stores.check_free_bytes(url, needed, f"stage import_data: the copy of {len(copied)} partitions")
    sets = {one.dataset: processing_set_url(url, datasets[one.dataset].name) for one in copied}
    return ImportPlan(
        datasets=tuple(_dataset(joined, number) for number in range(len(datasets))),
        antennas=joined.antennas,
        windows=tuple(_imported_window(window) for window in joined.windows),
        partitions=_create_or_keep(joined, copied, sets, recipes),
        longest_baseline_m=longest_m,
        idle_antennas=idle,
        left_out=selected.left_out,
        not_applied=_name_corrections(parts),
        repeated=find_repeated(joined, [one.name for one in datasets]),
        unweighted=tuple(name for name, own in parts.items() if any(_lacks_weights(part) for part in own)),
        repeated_rows=tuple((one.name, one.n_repeated_rows) for one in datasets if one.n_repeated_rows),
    )


def processing_set_url(folder: str, dataset: str) -> str:
    """Return where the copy of a data set is."""
    return stores.join_url(folder, f"{dataset}.ps.zarr")


def copy_block(block: CopyBlock) -> CopySummary:
    """Copy a block of data into its partition; the block with the first channel brings the baseline vectors too."""
    times, channels = slice(*block.times), slice(*block.channels)
    recipe = stores.open_group(block.recipe)
    time_s = stores.load_array(stores.join_url(block.url, "time"), (times,))
    first, second = (
        stores.load_array(stores.join_url(block.url, f"baseline_antenna{number}_name")).tolist() for number in (1, 2)
    )
    n_polarizations = stores.open_array(stores.join_url(block.url, "polarization")).shape[0]
    baselines = list(zip(first, second, strict=True))
    shape = (len(time_s), len(baselines), block.channels[1] - block.channels[0], n_polarizations)
    cells: Cells | None = None
    parts: Any = recipe.attrs["parts"]
    for number, part in enumerate(parts):
        if "layout" in part:
            rows = stores.load_array(stores.join_url(block.recipe, f"rows_{number}"), (times, slice(None)))
            new = _load_uvfits(UvfitsAddress.model_validate(part), rows, channels, shape)
        else:
            address = Msv4Address.model_validate(part)
            new = msv4.load_cells(address, time_s=time_s, baselines=baselines, channels=channels)
        cells = new if cells is None else _overlay(cells, new)
    cells = cells or msv4.empty_cells(shape)
    measurement_set.write_visibilities(
        block.url,
        times=times,
        channels=channels,
        visibilities=cells.visibilities,
        flags=cells.flags,
        weights=cells.weights,
    )
    summary = _count(cells, block.url, first, second)
    if block.channels[0] == 0:
        measurement_set.write_uvw(block.url, times=times, uvw_m=cells.uvw_m)
        product, norm = _compare_uvw(cells.uvw_m, block.url, time_s, first, second)
        summary = summary._replace(uvw_product_m2=product, uvw_norm_m2=norm)
    return summary


def merge_copy_summaries(parts: Sequence[CopySummary]) -> CopySummary:
    """Add up the counts of disjoint blocks."""
    return CopySummary(
        n_visibilities=sum(part.n_visibilities for part in parts),
        n_flagged=sum(part.n_flagged for part in parts),
        n_missing=sum(part.n_missing for part in parts),
        n_unflagged=tuple(sum(counts) for counts in zip(*(part.n_unflagged for part in parts), strict=True)),
        uvw_product_m2=sum(part.uvw_product_m2 for part in parts),
        uvw_norm_m2=sum(part.uvw_norm_m2 for part in parts),
    )


def remove_scratch(urls: Sequence[str]) -> None:
    """Remove what only the import needed."""
    for url in urls:
        stores.delete(url)


# --- before the copy -----------------------------------------------------------------------------------------------


def _describe(dataset: DataSet, data_group: str) -> list[SourcePart]:
    """Return the parts of a data set; those of an MSv2 are never kept, as its conversion is only for the import."""
    if dataset.kind is not SourceKind.MSV2:
        return describe_source(dataset.path, dataset.kind, data_group=data_group)
    names = msv2.read_names(dataset.original)
    parts = describe_source(dataset.path, dataset.kind, data_group=data_group, names=names)
    return [part._replace(chunks=None) for part in parts]


def _lacks_weights(part: SourcePart) -> bool:
    return isinstance(part.address, Msv4Address) and not part.address.weight


def _name_corrections(parts: Mapping[str, Sequence[SourcePart]]) -> tuple[str, ...]:
    """Return the corrections that come with data sets and that no stage applies, each once."""
    found = (
        f"{what} of {name}"
        for name, own in parts.items()
        for part in own
        if isinstance(part.address, Msv4Address)
        for what in msv4.find_corrections(part.address.url)
    )
    return tuple(dict.fromkeys(found))


def _check_positions(joined: JoinedData) -> None:
    """Refuse antennas that have data and no position: array, beam and pixels come out as large as the Earth."""
    ends = [one.description for one in joined.partitions]
    used = np.unique(np.concatenate([array for one in ends for array in (one.antenna1, one.antenna2)]))
    nowhere = [
        joined.antennas.names[number]
        for number in used.tolist()
        if not np.linalg.norm(joined.antennas.positions_m[number]) > _NOWHERE_M
    ]
    if nowhere:
        leave_out = ", ".join(f'"!{name}"' for name in nowhere)
        remedy = f", or leave them out (import_data: {{antennas: [{leave_out}]}})" if len(nowhere) < used.size else ""
        raise DataError(
            f"{len(nowhere)} of {used.size} antennas with data ({', '.join(nowhere)}) have the position 0, 0, 0 or "
            f"none, from which beam and pixels are found. Correct them in the data{remedy}"
        )


def _measure_array(joined: JoinedData) -> tuple[float, tuple[str, ...]]:
    """Return the length of the longest baseline that has data [m], and the antennas without any."""
    used: set[int] = set()
    longest = 0.0
    positions = joined.antennas.positions_m
    for partition in joined.partitions:
        one, two = partition.description.antenna1, partition.description.antenna2
        used.update(one.tolist(), two.tolist())
        longest = max(longest, float(np.linalg.norm(positions[one] - positions[two], axis=-1).max(initial=0.0)))
    if not longest > 0:
        raise DataError(
            f"the data hold no cross-correlations: {len(joined.partitions)} partitions with "
            f"{len(used)} antennas and no baseline of two different places; check the data sets"
        )
    return longest, tuple(name for number, name in enumerate(joined.antennas.names) if number not in used)


def _create_or_keep(
    joined: JoinedData, copied: Sequence[JoinedPartition], sets: Mapping[int, str], recipes: str
) -> tuple[ImportedPartition, ...]:
    """Create the partitions that are copied, in the processing set of their data set, and return them all.

    A repeated task creates what is there already, which changes nothing: data may have been copied since.
    """
    for place in sets.values():
        measurement_set.create_processing_set(place)
    if copied:
        stores.create_group(recipes)
    partitions = [
        _create(one, sets[one.dataset], recipes) if any(one is other for other in copied) else _keep(one)
        for one in joined.partitions
    ]
    for place in sets.values():
        measurement_set.consolidate_processing_set(place)
    return tuple(partitions)


def _create(partition: JoinedPartition, url: str, recipes: str) -> ImportedPartition:
    """Create a partition and its recipe."""
    description = partition.description
    chunks = plan_storage_chunks(description.shape)
    target = measurement_set.create_measurement_set(url, description, chunks=chunks)
    recipe = stores.join_url(recipes, description.name)
    stores.create_group(recipe, {"parts": [part.address.model_dump(mode="json") for part in partition.parts]})
    for number, part in enumerate(partition.parts):
        if part.rows is not None:
            rows_url = stores.join_url(recipe, f"rows_{number}")
            rows = _place_rows(part, description)
            stores.create_array(
                rows_url,
                rows.shape,
                chunks=(chunks[0], rows.shape[1]),
                dtype=rows.dtype,
                dims=("time", "baseline_id"),
                fill_value=-1,
            )
            stores.open_array(rows_url, mode="r+")[...] = rows
    variables = ("VISIBILITY", "FLAG", "WEIGHT", "UVW")
    return _imported(partition, target, chunks, variables, is_copied=True)


def _keep(partition: JoinedPartition) -> ImportedPartition:
    """Return the group of a partition that stays as it is."""
    (part,) = partition.parts
    assert isinstance(part.address, Msv4Address)
    assert part.chunks is not None
    address = part.address
    variables = (address.visibility, address.flag, address.weight, address.uvw)
    chunks = (part.chunks[0], part.chunks[2])
    return _imported(partition, address.url, chunks, variables, is_copied=False)


def _imported(
    partition: JoinedPartition,
    url: str,
    chunks: tuple[int, int],
    variables: tuple[str, str, str, str],
    *,
    is_copied: bool,
) -> ImportedPartition:
    description = partition.description
    return ImportedPartition(
        name=description.name,
        dataset=partition.dataset,
        window=partition.window,
        url=url,
        is_copied=is_copied,
        field=description.field_name,
        source=description.source_name,
        direction=(*description.phase_center_rad, description.phase_center_frame),
        intents=description.intents,
        shape=description.shape,
        chunks=chunks,
        polarizations=description.polarizations,
        integration_time_s=description.integration_time_s,
        scans=_scans(description),
        variables=variables,
        cross_baselines=int(np.count_nonzero(description.antenna1 != description.antenna2)),
    )


def _imported_window(window: JoinedWindow) -> ImportedWindow:
    """Return a window as a record of a few bytes, for the ledger to keep."""
    frequency_hz = window.frequency_hz
    ends = (float(frequency_hz[0]), float(frequency_hz[-1]))
    return ImportedWindow(**window._asdict() | {"frequency_hz": ends, "n_channels": len(frequency_hz)})


def _scans(description: MeasurementSetDescription) -> tuple[ImportedScan, ...]:
    """Return the scans of a partition; each covers one span of times."""
    half_s = description.integration_time_s / 2
    names = description.scan_names
    scans = []
    for name in dict.fromkeys(names):
        first = names.index(name)
        stop = first + names.count(name)
        start_s, stop_s = description.time_s[[first, stop - 1]].tolist()
        scans.append(ImportedScan(name, first, stop, start_s - half_s, stop_s + half_s))
    return tuple(scans)


def _place_rows(part: SourcePart, description: MeasurementSetDescription) -> npt.NDArray[np.int64]:
    """Return the map of rows on the times and baselines of the partition."""
    assert part.rows is not None
    n_antennas = len(description.antennas.names)
    wanted = description.antenna1 * n_antennas + description.antenna2
    own = part.description.antenna1 * n_antennas + part.description.antenna2
    rows = np.full((len(description.time_s), len(wanted)), -1, np.int64)
    times = np.searchsorted(description.time_s, part.description.time_s)
    rows[np.ix_(times, np.searchsorted(wanted, own))] = part.rows
    return rows


def _dataset(joined: JoinedData, number: int) -> ImportedDataSet:
    """Return what a data set says of itself."""
    descriptions = [one.description for one in joined.partitions if one.dataset == number]
    return ImportedDataSet(
        telescope=_distinct(one.telescope for one in descriptions),
        observer=_distinct(one.observer for one in descriptions),
        project=_distinct(one.project for one in descriptions),
        start_s=min(float(one.time_s[0]) - one.integration_time_s / 2 for one in descriptions),
        stop_s=max(float(one.time_s[-1]) + one.integration_time_s / 2 for one in descriptions),
    )


def _distinct(texts: Any) -> str:
    """Join the different texts that are not empty."""
    return ", ".join(dict.fromkeys(text for text in texts if text))


# --- the copy --------------------------------------------------------------------------------------------------------


def _load_uvfits(
    address: UvfitsAddress, rows: npt.NDArray[np.int64], channels: slice, shape: tuple[int, int, int, int]
) -> Cells:
    """Read rows of a file into the cells that they belong to."""
    cells = msv4.empty_cells(shape)
    there = rows >= 0
    wanted = rows[there]
    order = np.argsort(wanted, kind="stable")
    data = uvfits.load_rows(address, wanted[order], channels)
    place = tuple(index[order] for index in np.nonzero(there))
    cells.visibilities[place] = data.visibilities
    cells.flags[place] = data.flags | ~np.isfinite(data.visibilities)
    cells.weights[place] = data.weights
    cells.uvw_m[place] = data.uvw_m
    return cells


def _overlay(cells: Cells, new: Cells) -> Cells:
    """Return the cells of two parts: those of the second one where the first one has no baseline vector."""
    missing = np.isnan(cells.uvw_m[..., 0])
    wide = missing[:, :, np.newaxis, np.newaxis]
    return Cells(
        visibilities=np.where(wide, new.visibilities, cells.visibilities),
        flags=np.where(wide, new.flags, cells.flags),
        weights=np.where(wide, new.weights, cells.weights),
        uvw_m=np.where(missing[:, :, np.newaxis], new.uvw_m, cells.uvw_m),
    )


def _count(cells: Cells, url: str, first: Sequence[str], second: Sequence[str]) -> CopySummary:
    """Count the data of a block."""
    names = stores.load_array(stores.join_url(url, "antenna_xds", "antenna_name")).tolist()
    index = {name: number for number, name in enumerate(names)}
    unflagged = cells.flags[:, 0].size - count_times(cells.flags).sum(axis=(1, 2))
    per_antenna = np.zeros(len(names), np.int64)
    for one, two, count in zip(first, second, unflagged.tolist(), strict=True):
        if one != two:
            per_antenna[[index[one], index[two]]] += count
    return CopySummary(
        n_visibilities=cells.flags.size,
        n_flagged=int(np.count_nonzero(cells.flags)),
        n_missing=int(np.count_nonzero(~np.isfinite(cells.visibilities))),
        n_unflagged=tuple(per_antenna.tolist()),
    )


def _compare_uvw(
    uvw_m: npt.NDArray[np.float64],
    url: str,
    time_s: npt.NDArray[np.float64],
    first: Sequence[str],
    second: Sequence[str],
) -> tuple[float, float]:
    """Return the two sums by which baseline vectors are compared with those of the antenna positions [m^2]."""
    antennas = stores.join_url(url, "antenna_xds")
    names = stores.load_array(stores.join_url(antennas, "antenna_name")).tolist()
    index = {name: number for number, name in enumerate(names)}
    pairs = Baselines(*(np.array([index[name] for name in ends], np.int64) for ends in (first, second)))
    positions_m = stores.load_array(stores.join_url(antennas, "ANTENNA_POSITION"))
    field = stores.join_url(url, "field_and_source_base_xds", "FIELD_PHASE_CENTER_DIRECTION")
    ra, dec = np.ravel(stores.load_array(field)).tolist()
    expected_m = uvw_from_positions(positions_m, time_s, ra, dec, pairs)
    found_m = np.where(np.isfinite(uvw_m), uvw_m, 0.0)
    lengths = np.linalg.norm(found_m, axis=-1) * np.linalg.norm(expected_m, axis=-1)
    return float(np.sum(found_m * expected_m)), float(np.sum(lengths))
