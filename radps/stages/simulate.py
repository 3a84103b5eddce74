"""Simulate an observation with a known truth: a data set to try everything on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from dask.delayed import Delayed
from pydantic import Discriminator, Field, Tag

from radps.context.model import Context
from radps.context.records import Outcome
from radps.data.chunks import plan_channel_chunks, plan_time_chunks
from radps.data.demo_observation import demo_observation
from radps.data.demo_telescopes import DemoObservation
from radps.data.observation_model import ObservationModel
from radps.data.simulate import (
    DEFAULT_CHUNKS,
    block_memory_bytes,
    create_simulation,
    describe_observation,
    write_simulated_block,
)
from radps.graph_tasks.shapes import map_chunks, run_task
from radps.stages.base import StageParams


def _choose_kind(value: object) -> str:
    """Return which model a value of `observation` is of: a demo has the name of its telescope."""
    is_demo = isinstance(value, DemoObservation) or (isinstance(value, Mapping) and "telescope" in value)
    return "demo" if is_demo else "whole"


class Params(StageParams):
    """Parameters of the stage `simulate`."""

    writes = ("dataset_paths",)

    observation: Annotated[
        Annotated[ObservationModel, Tag("whole")] | Annotated[DemoObservation, Tag("demo")],
        Discriminator(_choose_kind),
    ] = Field(default_factory=demo_observation)
    """Array, schedule, fields with their skies, bands, errors, seed; or the name of a telescope that radps has a demo
    observation of, as ``{telescope: alma}``; by default the VLA's."""


def simulate(context: Context, params: Params) -> Delayed:
    """Simulate an observation, chunk by chunk, as raw data of an MSv4 processing set for `import_data` to read.

    Every chunk is drawn from the seed by itself, so that the data do not depend on how they are cut or on the cluster.
    """
    chosen = params.observation
    model = chosen.build() if isinstance(chosen, DemoObservation) else chosen
    path = context.new_path("visibilities", suffix=".ps.zarr")
    url = context.locate(path)
    created = run_task(context, create_simulation, url, model)
    resources = context.place().resources
    blocks = []
    n_bands = len(model.bands)
    for number, description in enumerate(describe_observation(model)):
        n_times, _, n_channels, _ = description.shape
        one_chunk = block_memory_bytes(model, min(DEFAULT_CHUNKS[0], n_times), 1)
        for times in plan_time_chunks(
            n_times,
            stage="simulate",
            bytes_per_time=0,
            bytes_fixed=0,
            slots=n_times,
            memory_bytes=resources.memory_bytes,
            align=DEFAULT_CHUNKS[0],
        ):
            blocks += [
                (description.field_name, number % n_bands, times.slice, channels.slice)
                for channels in plan_channel_chunks(
                    n_channels,
                    stage="simulate",
                    bytes_per_channel=one_chunk,
                    bytes_fixed=0,
                    slots=resources.slots,
                    memory_bytes=resources.memory_bytes,
                    align=DEFAULT_CHUNKS[1],
                )
            ]
    written = map_chunks(context, _write_block, blocks, url, model, after=created, name="simulate_block")
    return run_task(context, _finish, written, path, model.seed)


def _write_block(block: tuple[str, int, slice, slice], url: str, model: ObservationModel) -> int:
    """Simulate and write a block; returns its number of visibilities."""
    field, band, times, channels = block
    return write_simulated_block(url, model, field, times, channels, band=band)


def _finish(written: Sequence[int], path: str, seed: int) -> Outcome:
    return Outcome(
        message=f"{sum(written):,} visibilities, seed {seed}",
        dataset_paths=(path,),
        summary={"visibilities": sum(written), "seed": seed},
    )
