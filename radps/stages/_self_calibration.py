"""The graphs of self-calibration: rank the antennas, store a model, solve, correct."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import Applicability, CalibrationTable, DataGroup, ImageRecord, Partition
from radps.data.solutions import SolutionDescription
from radps.data.visibilities import create_like
from radps.domain.polarization import parallel_hands
from radps.domain.solution_intervals import SolutionInterval
from radps.domain.stefcal import GainMode, GainOptions, Robustness
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.applying import AppliedTable, correct_block
from radps.node_tasks.calibration import (
    ScanData,
    count_antenna_flags,
    merge_antenna_flags,
    rank_antennas,
    solve_scan_gains,
)
from radps.node_tasks.model_images import ImageSource, store_model_image
from radps.node_tasks.prediction import FieldModel
from radps.node_tasks.self_calibration import save_self_gains
from radps.node_tasks.solving import ScanPart
from radps.stages._calibration import COPIES, cut_scan, group_scans, share_out
from radps.stages._imaging import ImageTarget

_Data = tuple[Partition, tuple[tuple[int, int], ...]]
"""A partition, and the half-open ranges of its channels that are used."""

SOURCE = "base"
"""Data group of the partitions that self-calibration works on: the version of the data that it starts from."""


class SelfCalibrationCycle(NamedTuple):
    """One trial: what is solved for, on which interval."""

    number: int
    mode: GainMode
    interval: SolutionInterval

    @property
    def kind(self) -> str:
        """Kind of its table."""
        return "self_phase" if self.mode is GainMode.PHASE else "self_gain"

    def __str__(self) -> str:
        """Return it in words."""
        length = self.interval if isinstance(self.interval, str) else f"{self.interval:g} s"
        return f"{'phases' if self.mode is GainMode.PHASE else 'amplitudes and phases'} of each {length}"


class SolvedTable(NamedTuple):
    """Where the gains of some spectral windows are."""

    cycle: SelfCalibrationCycle
    windows: tuple[str, ...]
    path: str

    def applied(self, context: Context, field: str) -> AppliedTable:
        """Return how it is applied to the data of the field."""
        return AppliedTable(context.locate(self.path), (field,), kind=self.cycle.kind)

    def record(self, field: str, reference_antenna: str) -> CalibrationTable:
        """Return its record."""
        name = f"{self.cycle.kind}_{field}_{'_'.join(self.windows)}"
        return CalibrationTable(
            name=name,
            kind="self_phase" if self.cycle.mode is GainMode.PHASE else "self_gain",
            path=self.path,
            window=self.windows[0],
            solved_on=(field,),
            applies_to=(Applicability(fields=(field,), windows=self.windows, from_fields=(field,)),),
            reference_antenna=reference_antenna,
        )


def with_source(target: ImageTarget, groups: Sequence[str]) -> ImageTarget:
    """Return the target with one version of the data of each partition, that self-calibration starts from."""
    partitions = tuple(
        one.model_copy(update={"groups": {SOURCE: one.groups[group]}})
        for one, group in zip(target.partitions, groups, strict=True)
    )
    return target._replace(partitions=partitions)


def rank_graph(context: Context, target: ImageTarget, preferred: int | None) -> Delayed:
    """Return the graph that orders the antennas as phase references by place and flags."""
    n_antennas = len(context.require_observation().antennas)
    blocks = plan_blocks(context, target.partitions, group=SOURCE, copies=COPIES)
    counts = map_chunks(context, count_antenna_flags, blocks, n_antennas, name=f"count_flags-{target.name}")
    merged = reduce_tree(context, merge_antenna_flags, counts, name=f"merge_flags-{target.name}")
    positions = tuple(antenna.position_m for antenna in context.require_observation().antennas)
    return run_task(context, rank_antennas, merged, positions, preferred, name=f"rank_antennas-{target.name}")


def model_graph(context: Context, target: ImageTarget, image: ImageRecord) -> tuple[Delayed, str]:
    """Return the graph that stores the model of an image to predict from, and where; it computes to a StoredImage."""
    direction = context.field(target.field).direction
    centre = (direction.ra_rad, direction.dec_rad)
    url = context.locate(context.new_path("context.zarr", f"{target.name}/model", suffix=""))
    source = ImageSource(context.locate(image.path), image.cell_size_rad, centre)
    stored = run_task(
        context, store_model_image, source, centre, direction.frame, url, normalise=False, name=f"model-{target.name}"
    )
    return stored, url


def solve_graphs(
    context: Context,
    target: ImageTarget,
    cycle: SelfCalibrationCycle,
    model: FieldModel,
    before: Sequence[SolvedTable],
    order: Sequence[int],
    options: GainOptions,
    *,
    combine_windows: bool,
) -> tuple[list[SolvedTable], list[Delayed]]:
    """Return the tables of a cycle, and for each the graph that makes it; it computes to a SolveSummary.

    ``before`` are tables that are divided out of the data first.
    """
    tables, graphs = [], []
    for number, group in enumerate(_group_data(target, combine_windows=combine_windows)):
        partitions = [partition for partition, _ in group]
        name = f"{target.name}-{number:03d}"
        path = context.new_path("context.zarr", f"{name}/{cycle.kind}", suffix="")
        windows = tuple(dict.fromkeys(partition.window for partition in partitions))
        table = SolvedTable(cycle, windows, path)
        together = options.robust is Robustness.NONE
        read_with = {one.name: group_scans(one, together=together) for one in partitions}
        found = [
            _find_scan(context, group, scan, model, before, read_with)
            for scan in dict.fromkeys(scan for one in partitions for scan in one.scans)
        ]
        parts = [
            run_task(
                context,
                solve_scan_gains,
                [ScanData(target.field, one.scan, one.parts) for one in found[share]],
                len(context.require_observation().antennas),
                tuple(order),
                options,
                cycle.interval,
                name=f"solve-{name}-{index:04d}",
            )
            for index, share in enumerate(share_out(context, [one.read_with for one in found]))
        ]
        hands = tuple(partitions[0].polarizations[hand] for hand in parallel_hands(partitions[0].polarizations))
        antennas = tuple(antenna.name for antenna in context.require_observation().antennas)
        graphs.append(
            run_task(
                context,
                save_self_gains,
                parts,
                context.locate(path),
                SolutionDescription("gain", windows[0], antennas, hands),
                tuple(order),
                normalise=cycle.mode is not GainMode.PHASE,
                name=f"save_gains-{name}",
            )
        )
        tables.append(table)
    return tables, graphs


def correct_graphs(
    context: Context, target: ImageTarget, tables: Sequence[SolvedTable]
) -> tuple[dict[str, DataGroup], list[Delayed]]:
    """Return partition -> its corrected version, and the graphs that make them from the source."""
    groups, graphs = {}, []
    for partition in target.partitions:
        folder = context.new_path("visibilities", f"{target.name}/{partition.name}")
        address = context.address(partition, SOURCE)
        paths = {
            role: f"{folder}/{name}"
            for role, name in (("visibility", "VISIBILITY_SELF_CALIBRATED"), ("flag", "FLAG_SELF_CALIBRATED"))
        }
        name = f"{target.name}-{partition.name}"
        created = [
            run_task(
                context,
                create_like,
                address,
                context.locate(folder),
                path.rpartition("/")[2],
                name=f"create-{name}-{role}",
            )
            for role, path in paths.items()
        ]
        graphs += map_chunks(
            context,
            correct_block,
            plan_blocks(context, [partition], group=SOURCE, copies=COPIES),
            partition.field,
            [table.applied(context, partition.field) for table in tables if partition.window in table.windows],
            context.locate(paths["visibility"]),
            context.locate(paths["flag"]),
            None,
            name=f"correct-{name}",
            after=created,
        )
        groups[partition.name] = partition.groups[SOURCE].model_copy(update=paths)
    return groups, graphs


def _group_data(target: ImageTarget, *, combine_windows: bool) -> list[list[_Data]]:
    """Return the data that share solutions: those of a window, or of all windows of a data set."""
    groups: dict[str, list[_Data]] = {}
    for partition, channels in zip(target.partitions, target.channels, strict=True):
        groups.setdefault(partition.dataset if combine_windows else partition.window, []).append((partition, channels))
    return list(groups.values())


class _Scan(NamedTuple):
    """The data of a scan, in each partition that has it."""

    scan: str
    parts: tuple[ScanPart, ...]
    read_with: Hashable
    """The same for scans that are read together."""


def _find_scan(
    context: Context,
    group: Sequence[_Data],
    scan: str,
    model: FieldModel,
    before: Sequence[SolvedTable],
    read_with: Mapping[str, Mapping[str, tuple[str, ...]]],
) -> _Scan:
    """Return the data of a scan; ``read_with`` is what :func:`group_scans` says of each partition."""
    parts, together = [], []
    for partition, channels in group:
        if scan not in partition.scans:
            continue
        neighbours = read_with[partition.name][scan]
        applied = [table.applied(context, partition.field) for table in before if partition.window in table.windows]
        pieces = [piece for span in channels for piece in cut_scan(context, partition, scan, span, neighbours)]
        parts.append(ScanPart(tuple(pieces), tuple(applied), model))
        together.append((partition.name, neighbours))
    return _Scan(scan, tuple(parts), tuple(together))
