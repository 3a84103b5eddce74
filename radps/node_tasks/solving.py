"""What all solutions share on a worker: a scan in pieces, tables divided out on the fly, the model, the sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import load_array
from radps.data.urls import join_url
from radps.data.visibilities import VisibilityChunk
from radps.domain.gain_sums import GainSums, add_gain_sums, empty_gain_sums, place_empty_intervals
from radps.domain.polarization import StokesModel, parallel_hands, to_parallel_hands
from radps.domain.robust_gains import CELLS_AT_ONCE, GainData, sum_robustly
from radps.domain.solution_intervals import SolutionInterval, number_intervals
from radps.domain.stefcal import GainOptions, Robustness
from radps.errors import DataError
from radps.node_tasks.applying import AppliedTable, divide_tables
from radps.node_tasks.blocks import Block
from radps.node_tasks.feeds import find_feed_angle
from radps.node_tasks.prediction import FieldModel, predict_field, predict_polarized


class ScanPart(NamedTuple):
    """The data of a scan in one spectral window, their model, and what is divided out of them before."""

    pieces: tuple[Block, ...]
    """Disjoint blocks that cover the scan and its channels, each small enough for the memory of a task."""
    applied: tuple[AppliedTable, ...]
    model: FieldModel

    @property
    def times(self) -> slice:
        """The times of the scan."""
        return slice(min(piece.times[0] for piece in self.pieces), max(piece.times[1] for piece in self.pieces))

    @property
    def channels(self) -> slice:
        """The channels of all pieces, and of gaps between them."""
        starts, stops = zip(*(piece.channels for piece in self.pieces), strict=True)
        return slice(min(starts), max(stops))

    def load_times(self) -> NDArray[np.float64]:
        """Read the times of the scan, (time,) [s]."""
        return load_array(join_url(self.pieces[0].address.store, "time"), (self.times,))

    def load_frequencies(self) -> NDArray[np.float64]:
        """Read the frequencies of the channels, (channel,) [Hz]."""
        return load_array(join_url(self.pieces[0].address.store, "frequency"), (self.channels,))


class ScanSums(NamedTuple):
    """The sums of a scan, and whose they are."""

    sums: GainSums
    antenna1: NDArray[np.int64]
    antenna2: NDArray[np.int64]
    frequency_hz: NDArray[np.float64]
    """Channels of all parts, one after the other."""
    outliers: NDArray[np.float32] | None
    """Of :class:`radps.domain.robust_gains.RobustSums`."""


def sum_scan(parts: Sequence[ScanPart], interval: SolutionInterval, n_antennas: int, options: GainOptions) -> ScanSums:
    """Sum the data of a scan over all channels of all its spectral windows, one piece after the other.

    The memory is that of a piece: a robust solution reads them again in each of its passes, if there are several.
    Integrations of several windows are in one interval if their times are.

    Raises
    ------
    DataError
        If two windows of the scan have other baselines.
    """
    antenna1, antenna2 = _common_baselines(parts)
    times = [part.load_times() for part in parts]
    joined = np.unique(np.concatenate(times))
    number = number_intervals(joined, interval)

    def load() -> Iterator[GainData]:
        for part, time_s in zip(parts, times, strict=True):
            own = number[np.searchsorted(joined, time_s)]
            for piece in part.pieces:
                cut = own[piece.times[0] - part.times.start : piece.times[1] - part.times.start]
                yield _load_piece(piece, part, cut, int(number.max()) + 1)

    is_single = sum(len(part.pieces) for part in parts) == 1
    pieces = list(load()) if is_single else None
    found = sum_robustly(load if pieces is None else lambda: pieces, antenna1, antenna2, n_antennas, options)
    return ScanSums(
        place_empty_intervals(found.sums, joined, number),
        antenna1,
        antenna2,
        np.concatenate([part.load_frequencies() for part in parts]),
        found.outliers,
    )


def sum_scans(
    scans: Sequence[Sequence[ScanPart]], interval: SolutionInterval, n_antennas: int, options: GainOptions
) -> list[ScanSums]:
    """Sum the data of several scans, each by itself as :func:`sum_scan` does, and read them together.

    A zarr chunk may hold many scans, and is decompressed as a whole: piece by piece, the times of all scans are read
    at once. The pieces of all scans have the same channels, of the same partitions. Robust solutions read their pieces
    many times, and are those of one scan after the other.

    Raises
    ------
    DataError
        If two windows of a scan have other baselines.
    """
    if len(scans) == 1 or options.robust is not Robustness.NONE:
        return [sum_scan(parts, interval, n_antennas, options) for parts in scans]
    antenna1, antenna2 = _common_baselines(scans[0])
    times = [[part.load_times() for part in parts] for parts in scans]
    joined = [np.unique(np.concatenate(of_scan)) for of_scan in times]
    numbers = [number_intervals(time_s, interval) for time_s in joined]
    totals: list[GainSums | None] = [None] * len(scans)
    for window, parts in enumerate(zip(*scans, strict=True)):
        for pieces in zip(*(part.pieces for part in parts), strict=True):
            for scan, (data, piece, part) in enumerate(zip(_load_together(pieces), pieces, parts, strict=True)):
                own = numbers[scan][np.searchsorted(joined[scan], times[scan][window])]
                cut = own[piece.times[0] - part.times.start : piece.times[1] - part.times.start]
                sums = _prepare_piece(data, piece, part, cut, int(numbers[scan].max()) + 1).accumulate()
                before = totals[scan]
                totals[scan] = sums if before is None else add_gain_sums(before, sums)
    frequency_hz = np.concatenate([part.load_frequencies() for part in scans[0]])
    return [
        ScanSums(place_empty_intervals(sums, time_s, number), antenna1, antenna2, frequency_hz, None)
        for sums, time_s, number in zip(totals, joined, numbers, strict=True)
        if sums is not None
    ]


def _load_together(pieces: Sequence[Block]) -> Iterator[VisibilityChunk]:
    """Read the times of all pieces, which have the same channels, at once; yield the data of each."""
    first, last = min(piece.times[0] for piece in pieces), max(piece.times[1] for piece in pieces)
    data = pieces[0].model_copy(update={"times": (first, last)}).load()
    for piece in pieces:
        yield data.of_times(slice(piece.times[0] - first, piece.times[1] - first))


def sum_scan_channels(part: ScanPart, interval: SolutionInterval, n_antennas: int, options: GainOptions) -> ScanSums:
    """Sum the data of a scan over time alone, each channel by itself.

    A robust solution judges a visibility by complex gains of its channel and interval.
    """
    time_s, frequency_hz = part.load_times(), part.load_frequencies()
    number = number_intervals(time_s, interval)
    n_intervals = int(number.max()) + 1
    data = part.pieces[0].load(())
    is_robust = options.robust is not Robustness.NONE
    shape = (n_intervals, len(data.antenna1), len(frequency_hz), len(parallel_hands(data.polarizations)))
    total = empty_gain_sums(shape)
    outliers = np.zeros((n_intervals, *shape[2:]), np.float32) if is_robust else None
    width = max(1, CELLS_AT_ONCE // (n_intervals * shape[3])) if is_robust else len(frequency_hz)

    def load(pieces: Sequence[Block]) -> Iterator[GainData]:
        for piece in pieces:
            cut = number[piece.times[0] - part.times.start : piece.times[1] - part.times.start]
            yield _load_piece(piece, part, cut, n_intervals, by_channel=True)

    for pieces in _join_pieces(part.pieces) if is_robust else [(piece,) for piece in part.pieces]:
        kept = tuple(load(pieces)) if len(pieces) == 1 else None
        first, last = (edge - part.channels.start for edge in pieces[0].channels)
        for start in range(first, last, width):
            band = slice(start, min(start + width, last))
            read = partial(_cut_bands, kept, partial(load, pieces), slice(start - first, band.stop - first))
            found = sum_robustly(read, data.antenna1, data.antenna2, n_antennas, options)
            total.vis_model[:, :, band] += found.sums.vis_model
            total.model_power[:, :, band] += found.sums.model_power
            total.weight[:] += found.sums.weight
            total.weight_time[:] += found.sums.weight_time
            if outliers is not None:
                outliers[:, band] = found.outliers
    sums = place_empty_intervals(total, time_s, number)
    return ScanSums(sums, data.antenna1, data.antenna2, frequency_hz, outliers)


def _join_pieces(pieces: Sequence[Block]) -> list[tuple[Block, ...]]:
    """Return the pieces of the same channels together: what is off is told by all times of an interval."""
    bands: dict[tuple[int, int], list[Block]] = {}
    for piece in pieces:
        bands.setdefault(piece.channels, []).append(piece)
    return [tuple(one) for one in bands.values()]


def _cut_bands(
    kept: Sequence[GainData] | None, load: Callable[[], Iterator[GainData]], band: slice
) -> Iterator[GainData]:
    """Yield some channels of each piece; pieces are read unless they are kept."""
    for data in load() if kept is None else kept:
        yield data.of_channels(band)


def _common_baselines(parts: Sequence[ScanPart]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the antennas of the baselines, the same in all windows of a scan."""
    found = [part.pieces[0].load(()) for part in parts]
    first = found[0]
    for part, data in zip(parts, found, strict=True):
        if not (np.array_equal(data.antenna1, first.antenna1) and np.array_equal(data.antenna2, first.antenna2)):
            raise DataError(
                f"{parts[0].pieces[0].partition} and {part.pieces[0].partition} have different baselines, and cannot "
                "be combined to one solution: solve each spectral window by itself"
            )
    return first.antenna1, first.antenna2


def load_corrected(block: Block, applied: Sequence[AppliedTable]) -> VisibilityChunk:
    """Read the parallel hands of a block, with the tables divided out.

    CASA's gaincal scales the weights by the tables that it applies on the fly, whatever is done with the data later.
    """
    return _correct(block.load(), applied)


def predict_model(block: Block, data: VisibilityChunk, model: FieldModel) -> NDArray[np.complex128]:
    """Return the model of a field for the parallel hands of a block, whose data are given.

    The shape is (time, baseline, channel, 1), the same in both hands, or (time, baseline, channel, hand) where the
    model is polarized: linear feeds see it turned by their parallactic angle.
    """
    shape = (*data.uvw_m.shape[:2], len(data.frequency_hz))
    if model.feeds is None:
        return predict_field(data.uvw_m.reshape(-1, 3), data.frequency_hz, model).reshape(*shape, 1)
    is_linear = bool({"XX", "YY"} & set(data.polarizations))
    angle = find_feed_angle(block.address.store, model.feeds, data.time_s) if is_linear else None
    hands = np.empty((*shape, len(data.polarizations)), np.complex128)
    for number, rows in enumerate(data.uvw_m):  # one by one: four Stokes parameters of all would double the memory
        stokes = StokesModel(*(part[np.newaxis] for part in predict_polarized(rows, data.frequency_hz, model)))
        now = None if angle is None else angle[number : number + 1]
        hands[number] = to_parallel_hands(stokes, data.polarizations, now)[0]
    return hands


def _load_piece(
    piece: Block, part: ScanPart, interval: NDArray[np.int64], n_intervals: int, *, by_channel: bool = False
) -> GainData:
    """Read a piece of a scan, and return it as it is summed."""
    return _prepare_piece(piece.load(), piece, part, interval, n_intervals, by_channel=by_channel)


def _prepare_piece(
    data: VisibilityChunk,
    piece: Block,
    part: ScanPart,
    interval: NDArray[np.int64],
    n_intervals: int,
    *,
    by_channel: bool = False,
) -> GainData:
    """Return a piece of a scan, whose data are given as they were read, as it is summed."""
    data = _correct(data, part.applied)
    n_channels = len(data.frequency_hz)
    return GainData(
        data.visibilities,
        predict_model(piece, data, part.model),
        data.flags,
        data.weights,
        time_s=data.time_s,
        interval=interval,
        channel=np.arange(n_channels) if by_channel else np.zeros(n_channels, np.int64),
        n_intervals=n_intervals,
    )


def _correct(data: VisibilityChunk, applied: Sequence[AppliedTable]) -> VisibilityChunk:
    """Return the parallel hands, with the tables divided out of data and weights."""
    return divide_tables(_parallel_hands(data), applied, calibrate_weights=True)


def _parallel_hands(data: VisibilityChunk) -> VisibilityChunk:
    """Return the data of the parallel hands alone."""
    hands = parallel_hands(data.polarizations)
    if hands == list(range(len(data.polarizations))):
        return data  # without a copy
    return data._replace(
        visibilities=data.visibilities[..., hands],
        flags=data.flags[..., hands],
        weights=data.weights[..., hands],
        polarizations=tuple(data.polarizations[hand] for hand in hands),
    )
