"""Take in data sets: UVFITS files, MSv2 folders, MSv4 processing sets."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from dask.delayed import Delayed
from pydantic import Field

from radps.context.fields import INTENT_WORDS
from radps.context.model import Context
from radps.context.observation import list_some
from radps.context.records import (
    Antenna,
    DataGroup,
    DataSetMetadata,
    Direction,
    Observation,
    ObservedField,
    Outcome,
    OutcomeStatus,
    Partition,
    ProjectMetadata,
    QAScore,
    Scan,
    SpectralWindow,
)
from radps.context.scores import score_between
from radps.context.telescopes import describe_telescope
from radps.data.chunks import plan_channel_chunks, plan_time_chunks
from radps.data.part_selection import DataSelection
from radps.data.sources import SourceKind
from radps.data.urls import join_url, split_url
from radps.data.virtual_windows import SAME_BAND, VirtualMatching
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import DataError, SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.importing import (
    COPY_BYTES_PER_VISIBILITY,
    CopyBlock,
    CopySummary,
    DataSet,
    ImportedPartition,
    ImportPlan,
    copy_block,
    create_partitions,
    find_dataset,
    merge_copy_summaries,
    processing_set_url,
    remove_scratch,
)
from radps.stages.base import StageParams

_ENDINGS = (".ps.zarr", ".zarr", ".ms", ".uvfits", ".fits", ".uvf", ".fit")
_INTENT = re.compile(r"[A-Z]+_[A-Z_]+(#[A-Z_]+)?")
_ON_SOURCE = "#ON_SOURCE"
_UNKNOWN = ("UNSPECIFIED", "UNKNOWN", "")


_REVERSED = 0.9
"""Baseline vectors whose mean cosine with those of the antenna positions is below minus this have the other sign."""

_COPIED = "copied"
"""Name of the task that has the counts of a data set when it is copied."""


class Params(StageParams):
    """Parameters of the stage `import_data`."""

    writes = ("observation",)

    reads_data: ClassVar[bool] = True

    data_group: str = "base"
    """Version of the data of an MSv2 or MSv4: "base" (MSv2: the column DATA), "corrected" (CORRECTED_DATA), ..."""
    copy_msv4: Literal["if_needed", "always"] = "if_needed"
    """MSv4 data whose zarr chunks suit are used where they are, unchanged; "always" copies them into the run."""
    fields: tuple[str, ...] = ()
    """Fields to import, by name or pattern (``"J1*"``); empty = all."""
    windows: tuple[str, ...] = ()
    """Spectral windows to import: numbers as the data set counts them (``"17"``: CASA's spw of an MSv2), or names or
    patterns of the names in the data (``"*FULL_RES*"``); empty = all but those without cross-correlations (radiometers)
    and those of one channel that are the average of another one."""
    scans: tuple[str, ...] = ()
    """Scans to import, by name or by a range of numbers (``"4~9"``); empty = all."""
    intents: tuple[str, ...] = ()
    """Import what was observed for one of these: flux, bandpass, phase, target, or beginnings of MSv4 intents; empty =
    all but what was observed for nothing but pointing, focus, atmosphere or setup."""
    antennas: tuple[str, ...] = ()
    """Antennas to import, by name or pattern (``"DA*"``), or with ``!`` those to leave out (``"!CM*"``); empty = all.
    Both antennas of a baseline have to be chosen (CASA's ``antenna="DA*&&"``); the context knows no others."""
    virtual_windows: VirtualMatching = "overlap"
    """Spectral windows of different data sets are one virtual window if they have the same channels ("exact"), or if
    their bands overlap ("overlap")."""
    min_overlap: float = Field(default=SAME_BAND, gt=0.0, lt=1.0)
    """Part of their joint extent that two bands have to share more than, with virtual_windows "overlap"."""


class _Job(NamedTuple):
    """A data set to import."""

    name: str
    path: str
    part: Context
    """Names the tasks that copy it: those of the attempt that has done so, if it is the same since."""
    is_imported: bool
    """True if an attempt before has copied it."""


def import_data(context: Context, params: Params) -> Generator[Delayed, Any, Outcome]:
    """Describe the data sets, and copy them to MSv4 partitions of one field and spectral window, chunked for channels.

    1. Find out what each data set is; an MSv2 is converted by XRADIO (one task a data set).
    2. Join fields, antennas and windows of all data sets, and create the partitions (one task).
    3. Copy, block by block (map); memory goes with the block. MSv4 data that suit as they are are not copied.

    Without `data.path` in the config, the data that a stage before this one made are taken. Data sets that were copied
    before, and are the same since, are not copied again when others are added after them.
    """
    place = context.place()
    paths = place.dataset_paths or tuple(context.locate(path) for path in context.dataset_paths)
    if not paths:
        raise DataError("there is no data set: name one by data.path in the config, or put the step `simulate` before")
    intents = {field: _full_intents(field, words) for field, words in place.intents.items()}
    names = _dataset_names(paths)
    jobs = [_plan_job(context, path, name, intents) for path, name in zip(paths, names, strict=True)]
    scratch = context.new_path("visibilities", suffix="-scratch")
    recipes = context.locate(f"{scratch}/recipes.zarr")
    plan: ImportPlan = yield run_task(
        context,
        create_partitions,
        [_find(context, job, number, scratch) for number, job in enumerate(jobs)],
        context.locate(context.new_path("visibilities", suffix="")),
        recipes,
        intents,
        params.data_group,
        params.copy_msv4 == "if_needed",
        params.virtual_windows,
        params.min_overlap,
        DataSelection(
            fields=params.fields,
            windows=params.windows,
            scans=params.scans,
            intents=tuple(INTENT_WORDS.get(word, word) for word in params.intents),
            antennas=params.antennas,
        ),
    )
    copies = _copy(context, jobs, plan, recipes)
    copied: CopySummary | None = None
    if copies:
        copied = yield run_task(context, merge_copy_summaries, copies, name="merge_datasets")
        yield run_task(context, remove_scratch, (context.locate(scratch),))
    return _outcome(context, params, plan, jobs, copied)


def _plan_job(context: Context, path: str, name: str, intents: dict[str, tuple[str, ...]]) -> _Job:
    """Find out whether an attempt before has copied a data set that is still the same."""
    place = context.place()
    part = context.for_part(name, path, place.data_stamps.get(path, ""), intents)
    is_earlier = part.place().attempt != place.attempt
    return _Job(name, path, part, is_earlier and part.is_finished(part.task_key(f"{_COPIED}-{name}")))


def _find(context: Context, job: _Job, number: int, scratch: str) -> Delayed | DataSet:
    """Return where a data set is: as the user has it, or as it was imported before."""
    if job.is_imported:
        copy = processing_set_url(job.part.locate(job.part.new_path("visibilities", suffix="")), job.name)
        return DataSet(job.name, copy, SourceKind.MSV4, job.path, is_imported=True)
    converted = context.locate(f"{scratch}/{job.name}.ps.zarr")
    return run_task(context, find_dataset, job.path, job.name, converted, name=f"find_dataset-{number}")


def _copy(context: Context, jobs: Sequence[_Job], plan: ImportPlan, recipes: str) -> list[Delayed]:
    """Return a graph for each data set of which something is copied, or was before; they compute to CopySummaries."""
    copies = []
    for number, job in enumerate(jobs):
        partitions = [one for one in plan.partitions if one.dataset == number and one.is_copied]
        if not partitions and not job.is_imported:
            continue
        # What was imported before has to be copied again if other data sets brought antennas that it must know.
        names = context if job.is_imported and partitions else job.part
        parts = map_chunks(names, copy_block, _plan_copy(context, partitions, recipes), name=f"copy_block-{job.name}")
        merged = [reduce_tree(names, merge_copy_summaries, parts, name=f"merge-{job.name}")] if parts else []
        copies.append(run_task(names, merge_copy_summaries, merged, name=f"{_COPIED}-{job.name}"))
    return copies


def _full_intents(field: str, words: Sequence[str]) -> tuple[str, ...]:
    """Return the MSv4 intents of a field, from the words of the config."""
    full = []
    for word in words:
        intent = INTENT_WORDS.get(word, word)
        if not _INTENT.fullmatch(intent):
            raise SelectionError(
                f"data.intents: field {field!r} has the intent {word!r}; allowed are {', '.join(INTENT_WORDS)}, or "
                "intents of MSv4 such as CALIBRATE_PHASE#ON_SOURCE"
            )
        full.append(intent if "#" in intent else intent + _ON_SOURCE)
    return tuple(dict.fromkeys(full))


def _dataset_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Return names of data sets: those of their files, made unique."""
    names: list[str] = []
    for path in paths:
        stem = split_url(path)[1]
        ending = next((one for one in _ENDINGS if stem.lower().endswith(one)), "")
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem[: len(stem) - len(ending)]) or "data"
        name, count = stem, 1
        while name in names:
            count += 1
            name = f"{stem}_{count}"
        names.append(name)
    return tuple(names)


def _plan_copy(context: Context, partitions: Sequence[ImportedPartition], recipes: str) -> list[CopyBlock]:
    """Cut the partitions to copy into blocks of whole zarr chunks, with the whole band where memory allows."""
    place = context.place()
    blocks = []
    for partition in partitions:
        n_times, n_baselines, n_channels, n_polarizations = partition.shape
        per_channel = partition.chunks[0] * n_baselines * n_polarizations * COPY_BYTES_PER_VISIBILITY
        times = plan_time_chunks(
            n_times,
            stage=place.step,
            bytes_per_time=0,
            bytes_fixed=0,
            slots=n_times,
            memory_bytes=place.resources.memory_bytes,
            align=partition.chunks[0],
            max_tasks=n_times,
        )
        channels = plan_channel_chunks(
            n_channels,
            stage=place.step,
            bytes_per_channel=per_channel,
            bytes_fixed=0,
            slots=1,
            memory_bytes=place.resources.memory_bytes,
            align=partition.chunks[1],
            max_tasks=1,
        )
        recipe = join_url(recipes, partition.name)
        blocks += [
            CopyBlock(
                url=partition.url, recipe=recipe, times=(time.start, time.stop), channels=(channel.start, channel.stop)
            )
            for time in times
            for channel in channels
        ]
    return blocks


# --- what was found ------------------------------------------------------------------------------------------------


def _outcome(
    context: Context,
    params: Params,
    plan: ImportPlan,
    jobs: Sequence[_Job],
    copied: CopySummary | None,
) -> Outcome:
    """Return the observation and what is to be said of it."""
    observation = _observation(context, params, plan, jobs)
    n_in_place = sum(not one.is_copied and not jobs[one.dataset].is_imported for one in plan.partitions)
    silent = _silent_antennas(plan, copied if n_in_place == 0 else None)
    fraction = None if copied is None else _unflagged_fraction(copied)
    n_visibilities = sum(int(np.prod(partition.shape)) for partition in plan.partitions)
    n_windows, n_fields = len(observation.windows), len(observation.fields)
    windows = f"{n_windows} spectral window{'s' * (n_windows > 1)}"
    text = (
        f"{observation.telescope or 'unknown telescope'}, {len(observation.antennas)} antennas, "
        f"{n_fields} field{'s' * (n_fields > 1)}, {windows}, {n_visibilities:,} visibilities"
    )
    agreement = copied.uvw_product_m2 / copied.uvw_norm_m2 if copied is not None and copied.uvw_norm_m2 > 0 else None
    remarks = [f"no usable data of {list_some(silent)}"] if silent else []
    if plan.left_out:
        remarks.append(f"left out: {', '.join(plan.left_out)}")
    if plan.not_applied:
        remarks.append(
            f"{', '.join(plan.not_applied)} are not applied by any stage: if these data are raw, let CASA do it before "
            "the import (`gencal`, `applycal`)"
        )
    problems = _problems(plan, copied, agreement)
    return Outcome(
        status=OutcomeStatus.CAVEATS if problems else OutcomeStatus.SUCCESS,
        message="; ".join([text, *remarks, *problems]),
        observation=observation,
        summary={
            "datasets": {job.name: job.path for job in jobs},
            "fields": {field.name: list(field.intents) for field in observation.fields},
            "partitions": len(plan.partitions),
            "partitions_used_in_place": n_in_place,
            "visibilities": n_visibilities,
            "missing": 0 if copied is None else copied.n_missing,
            "flagged": 0 if copied is None else copied.n_flagged,
            "antennas_without_data": list(silent),
            "left_out": list(plan.left_out),
            "not_applied": list(plan.not_applied),
            "repeated": list(plan.repeated),
            "repeated_rows": dict(plan.repeated_rows),
            "longest_baseline_m": observation.longest_baseline_m,
            "synthesized_beam_arcsec": float(np.rad2deg(observation.synthesized_beam_rad) * 3600),
            "integration_times_s": sorted({partition.integration_time_s for partition in plan.partitions}),
        },
        qa=_scores(observation, fraction, agreement),
    )


def _problems(plan: ImportPlan, copied: CopySummary | None, agreement: float | None) -> list[str]:
    """Return what somebody should look at before going on; ``agreement`` is that of baseline vectors and positions."""
    problems = []
    if plan.repeated:
        problems.append(
            f"the same observation is in {' and in '.join(plan.repeated)}: its data count twice, and the noise looks "
            "lower than it is; leave one of them out of data.path"
        )
    problems += [
        f"{count} rows of {name} are of the same time, baseline, field and window as another one; one of each is used"
        for name, count in plan.repeated_rows
    ]
    if plan.unweighted:
        problems.append(f"there are no weights in {', '.join(plan.unweighted)}: each visibility has the weight 1")
    if copied is None:
        return problems
    if agreement is not None and agreement < -_REVERSED:
        problems.append(
            "baseline vectors are the negative of those of the antenna positions: if the visibilities are not of that "
            "order too, images are turned by 180 degrees; look for a source of a known place, and change the sign of "
            "UVW in the data if it is on the other side"
        )
    if agreement is None and copied.n_missing < copied.n_visibilities:
        problems.append(
            "every baseline vector (UVW) is zero: nothing can be imaged; have them computed, as by CASA `fixvis`"
        )
    if copied.n_flagged == copied.n_visibilities:
        problems.append("every visibility is flagged")
    return problems


def _scores(observation: Observation, fraction: float | None, agreement: float | None) -> tuple[QAScore, ...]:
    """Judge what was imported: intents that later stages select by, data that are left, baseline vectors."""
    unknown = [field.name for field in observation.fields if not _known(field.intents)]
    scores = [
        score_between(
            "fields without intent",
            len(unknown),
            unit="",
            good=0,
            bad=len(observation.fields),
            applies_to="all fields",
            hint=f"name the intents of {', '.join(unknown)} in the config under data.intents",
        )
    ]
    if fraction is not None:
        scores.append(
            score_between(
                "unflagged data",
                fraction,
                unit="",
                good=0.8,
                bad=0.1,
                applies_to="all data",
                hint="most data came flagged: see the flags of the data set",
            )
        )
    if agreement is not None:
        scores.append(
            score_between(
                "baseline vectors against antenna positions",
                agreement,
                unit="",
                good=0.9999,
                bad=0.99,
                applies_to="all data",
                hint="UVW, times, antenna positions or phase centres of the data are not of each other",
            )
        )
    return tuple(scores)


def _unflagged_fraction(copied: CopySummary) -> float:
    """Return the part of the data that is not flagged, of those that there are."""
    n_data = copied.n_visibilities - copied.n_missing
    return 1 - (copied.n_flagged - copied.n_missing) / n_data if n_data else 0.0


def _known(intents: Sequence[str]) -> bool:
    """Return True if one of the intents says something."""
    return any(intent.partition("#")[0].upper() not in _UNKNOWN for intent in intents)


def _silent_antennas(plan: ImportPlan, copied: CopySummary | None) -> tuple[str, ...]:
    """Return the antennas without an unflagged visibility; of data that were not read, those without a baseline."""
    if copied is None:
        return plan.idle_antennas
    return tuple(name for name, count in zip(plan.antennas.names, copied.n_unflagged, strict=True) if not count)


def _observation(context: Context, params: Params, plan: ImportPlan, jobs: Sequence[_Job]) -> Observation:
    """Return the observation as the context keeps it."""
    names = [job.name for job in jobs]
    edges = [edge for window in plan.windows for edge in window.frequency_hz]
    center_hz = (min(edges) + max(edges)) / 2
    project = _project(context, plan, names)
    antennas = _antennas(plan)
    return Observation(
        project=project,
        antennas=antennas,
        fields=_fields(plan.partitions),
        windows=_windows(plan),
        virtual_matching=params.virtual_windows,
        scans=_scans(plan.partitions),
        partitions=tuple(_partition(context, plan, one, jobs) for one in plan.partitions),
        longest_baseline_m=plan.longest_baseline_m,
        synthesized_beam_rad=float(SPEED_OF_LIGHT_M_S / center_hz / plan.longest_baseline_m),
        extension=describe_telescope(
            project.telescope,
            antennas=[antenna.name for antenna in antennas],
            diameters_m=[antenna.diameter_m for antenna in antennas],
            longest_baseline_m=plan.longest_baseline_m,
            middles_hz={window.name: float(np.mean(window.frequency_hz)) for window in plan.windows},
            labels={window.name: window.label for window in plan.windows},
        ),
    )


def _project(context: Context, plan: ImportPlan, names: Sequence[str]) -> ProjectMetadata:
    """Return what the config and the data say of the project."""
    datasets = tuple(
        DataSetMetadata(name=name, **one._asdict()) for name, one in zip(names, plan.datasets, strict=True)
    )
    return ProjectMetadata(title=context.project, datasets=datasets)


def _antennas(plan: ImportPlan) -> tuple[Antenna, ...]:
    array = plan.antennas
    return tuple(
        Antenna(
            name=name,
            station=station,
            position_m=tuple(position),
            diameter_m=float(np.nan_to_num(diameter, nan=0.0)),
        )
        for name, station, position, diameter in zip(
            array.names, array.stations, array.positions_m.tolist(), array.diameters_m.tolist(), strict=True
        )
    )


def _windows(plan: ImportPlan) -> tuple[SpectralWindow, ...]:
    return tuple(
        SpectralWindow(
            name=window.name,
            virtual=window.virtual,
            frequency_hz=window.frequency_hz,
            n_channels=window.n_channels,
            channel_width_hz=window.channel_width_hz,
            frame=window.frame,
            rest_frequency_hz=window.rest_frequency_hz if np.isfinite(window.rest_frequency_hz) else None,
            label=window.label,
        )
        for window in plan.windows
    )


def _fields(partitions: Sequence[ImportedPartition]) -> tuple[ObservedField, ...]:
    """Return the fields in the order of the data, with the intents of all their partitions."""
    fields: dict[str, ObservedField] = {}
    for one in partitions:
        ra, dec, frame = one.direction
        before = fields[one.field].intents if one.field in fields else ()
        fields[one.field] = ObservedField(
            name=one.field,
            source=one.source,
            direction=Direction(ra_rad=ra, dec_rad=dec, frame=frame),
            intents=tuple(dict.fromkeys((*before, *one.intents))),
        )
    return tuple(fields.values())


def _scans(partitions: Sequence[ImportedPartition]) -> tuple[Scan, ...]:
    """Return the scans in the order of time; the spectral windows of a scan are one scan."""
    scans: dict[tuple[int, str, str], Scan] = {}
    for one in partitions:
        for scan in one.scans:
            scans[one.dataset, one.field, scan.name] = Scan(
                name=scan.name, field=one.field, start_s=scan.start_s, stop_s=scan.stop_s
            )
    return tuple(sorted(scans.values(), key=lambda scan: scan.start_s))


def _partition(context: Context, plan: ImportPlan, one: ImportedPartition, jobs: Sequence[_Job]) -> Partition:
    """Return a partition as the context keeps it."""
    path = context.relative(one.url)
    run_url, stamps = context.place().url, context.place().data_stamps
    visibility, flag, weight, uvw = (join_url(path, name) for name in one.variables)
    return Partition(
        name=one.name,
        dataset=jobs[one.dataset].name,
        path=path,
        field=one.field,
        window=plan.windows[one.window].name,
        intents=one.intents,
        shape=one.shape,
        chunks=one.chunks,
        polarizations=one.polarizations,
        integration_time_s=one.integration_time_s,
        cross_baselines=one.cross_baselines,
        scans={scan.name: (scan.first, scan.stop) for scan in one.scans},
        content="" if one.url.startswith(run_url) else stamps.get(jobs[one.dataset].path, ""),
        groups={"base": DataGroup(visibility=visibility, flag=flag, weight=weight, uvw=uvw)},
    )
