"""Every stage builds its graph from the context alone: nothing is computed, no store is touched, the graph is small."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from typing import Any

import dask
import pytest
from dask.delayed import Delayed

from radps.context.model import Context, Workspace
from radps.context.records import (
    Antenna,
    Applicability,
    CalibrationTable,
    DataGroup,
    DataSetMetadata,
    Direction,
    FrequencyRange,
    ImageRecord,
    Observation,
    ObservedField,
    Outcome,
    Partition,
    ProjectMetadata,
    Resources,
    Scan,
    SkyComponent,
    SkyModel,
    SpectralWindow,
    StatisticsRecord,
    StepRecord,
    StepState,
)
from radps.errors import DataError
from radps.graph_tasks.shapes import count_tasks
from radps.stages.base import find_stage, stage_names

NOWHERE = "untouchable://bucket"
"""No file system answers to this protocol, so that touching any store is an error."""

REQUIRED = {"subtract_continuum": {"line_free": ["0~99"]}, "restore_flags": {"version": "before"}}
"""Parameters that have no default."""

BYTES_PER_TASK = 1024
"""A pickled graph stays below 1 MiB for 1,000 tasks ..."""
BYTES_OF_A_GRAPH = 64 * 1024
"""... and what its tasks share below this."""


def observation() -> Observation:
    """An hour on three fields with 1,024 channels: so much that stages have to cut it."""
    intents = {
        "3C286": ("CALIBRATE_FLUX#ON_SOURCE", "CALIBRATE_BANDPASS#ON_SOURCE"),
        "J1445+0958": ("CALIBRATE_PHASE",),
    }
    coordinates = {"3C286": (3.539257790, 0.532485110), "J1445+0958": (3.86, 0.17), "galaxy": (3.9, 0.1)}
    fields = tuple(
        ObservedField(
            name=name,
            source=name,
            direction=Direction(ra_rad=ra, dec_rad=dec, frame="fk5"),
            intents=intents.get(name, ("OBSERVE_TARGET#ON_SOURCE",)),
        )
        for name, (ra, dec) in coordinates.items()
    )
    scans = tuple(Scan(name=str(n), field=f.name, start_s=n * 1e3, stop_s=n * 1e3 + 999) for n, f in enumerate(fields))
    return Observation(
        project=ProjectMetadata(
            datasets=(DataSetMetadata(name="data", telescope="VLA", observer="somebody", start_s=0.0, stop_s=3e3),)
        ),
        antennas=tuple(
            Antenna(name=f"VA{n:02d}", station=f"W{n}", position_m=(n * 40.0, 0.0, 6.4e6), diameter_m=25.0)
            for n in range(27)
        ),
        fields=fields,
        windows=(
            SpectralWindow(
                name="L",
                virtual=0,
                frequency_hz=(1.4e9, 1.4e9 + 1023 * 5e3),
                n_channels=1024,
                channel_width_hz=5e3,
                frame="LSRK",
                rest_frequency_hz=1.42e9,
            ),
        ),
        scans=scans,
        partitions=tuple(partition(field, scan) for field, scan in zip(fields, scans, strict=True)),
        longest_baseline_m=1000.0,
        synthesized_beam_rad=2e-4,
    )


def partition(field: ObservedField, scan: Scan) -> Partition:
    """One MSv4 whose arrays are nowhere."""
    base = f"visibilities/import_data-1.ps.zarr/{field.name}"
    return Partition(
        name=field.name,
        dataset="data",
        path=base,
        field=field.name,
        window="L",
        intents=field.intents,
        shape=(360, 351, 1024, 2),
        chunks=(60, 16),
        polarizations=("RR", "LL"),
        integration_time_s=10.0,
        scans={scan.name: (0, 360)},
        groups={
            "base": DataGroup(
                visibility=f"{base}/VISIBILITY", flag=f"{base}/FLAG", weight=f"{base}/WEIGHT", uvw=f"{base}/UVW"
            )
        },
    )


def everything_known() -> Outcome:
    """What all stages together would have left in the context."""
    fields = ("3C286", "J1445+0958", "galaxy")
    tables = tuple(
        CalibrationTable(
            name=f"{kind}-L",
            kind=kind,
            path=f"context.zarr/calibrate-1/L/{kind}",
            window="L",
            solved_on=("3C286",),
            applies_to=(Applicability(fields=fields, windows=("L",), from_fields=("3C286",)),),
            reference_antenna="VA01",
        )
        for kind in ("bandpass", "gain")
    )
    point = SkyComponent(flux_jy=1.0, reference_frequency_hz=1.4e9)
    line_free = FrequencyRange(start_hz=1.4e9, stop_hz=1.4005e9, frame="LSRK", origin="config")
    return Outcome(
        observation=observation(),
        dataset_paths=("visibilities/simulate-1.ps.zarr",),
        sky_models=tuple(SkyModel(field=field, components=(point,), origin="config") for field in fields[:2]),
        tables=tables,
        line_free=(line_free,),
        images=(image("galaxy_cube", "cube"), image("galaxy_continuum", "continuum")),
    )


def image(name: str, kind: Any) -> ImageRecord:
    return ImageRecord(
        name=name,
        kind=kind,
        path=f"images/{name}.zarr",
        variable="SKY",
        companions=("SKY_RESIDUAL",),
        convergence=f"context.zarr/{name}/convergence",
        field="galaxy",
        window="L",
        shape=(1024, 256, 256),
        cell_size_rad=5e-5,
        frequency_hz=(1.4e9, 1.4e9 + 1023 * 5e3),
        channel_width_hz=5e3,
        statistics=StatisticsRecord(max=1.0, min=0.0, rms=0.1),
        noise_jy=1e-3,
    )


@pytest.fixture
def context() -> Context:
    place = Workspace(
        url=NOWHERE,
        step="step",
        attempt=3,
        resources=Resources(slots=8, memory_bytes=4 * 2**30),
        dataset_paths=(f"{NOWHERE}/data.ms",),
        intents={"galaxy": ("target",)},
    )
    before = StepRecord(
        id="before",
        stage="import_data",
        state=StepState.DONE,
        attempt=1,
        fingerprint="",
        after=(),
        params={},
        start_s=0.0,
        outcome=everything_known(),
    )
    return Context(run_id="r").at(place).with_records([before])


@pytest.fixture(autouse=True)
def computing_is_an_error() -> Generator[None]:
    """Every way to compute a dask graph raises."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a stage computed while it built its graph")

    with dask.config.set(scheduler=refuse):
        yield


def first_graph(stage: str, context: Context) -> Any:
    """Return what a stage returns, or yields first."""
    found = find_stage(stage)
    result = found.function(context, found.params_model(**REQUIRED.get(stage, {})))
    return next(result) if isinstance(result, Generator) else result


@pytest.mark.parametrize("stage", stage_names())
def test_a_stage_builds_its_graph_without_computing_or_touching_a_store(stage: str, context: Context) -> None:
    result = first_graph(stage, context)
    if isinstance(result, Outcome):
        return  # a stage that needs nothing but metadata
    assert isinstance(result, Delayed)
    assert count_tasks(result) >= 1


@pytest.mark.parametrize("stage", stage_names())
def test_the_tasks_of_a_stage_are_small_and_named_after_step_and_attempt(stage: str, context: Context) -> None:
    result = first_graph(stage, context)
    if isinstance(result, Outcome):
        return
    graph = dict(result.__dask_graph__())
    assert [key for key in graph if not (key.startswith("step.") and "-3" in key)] == []
    assert len(pickle.dumps(graph)) < BYTES_OF_A_GRAPH + BYTES_PER_TASK * len(graph)


def test_the_guards_catch_a_stage_that_computes_or_reads(context: Context) -> None:
    from radps.data.stores import open_group

    with pytest.raises(AssertionError, match="computed while it built"):
        dask.delayed(int)(1).compute()
    with pytest.raises(DataError, match="there is no kind of address untouchable://"):
        open_group(context.locate("visibilities/x"))
