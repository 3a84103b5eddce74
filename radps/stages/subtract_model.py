"""Subtract the model of a continuum image from the visibilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.planning import VISIBILITY_BYTES, count_cells, plan_fixed_blocks, require_memory
from radps.context.records import DataGroup, ImageRecord, Outcome, OutcomeStatus, Partition, QAScore, ScoreScope
from radps.context.scores import score_between
from radps.data.urls import absolute_url
from radps.data.visibilities import create_like
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.blocks import Block
from radps.node_tasks.model_images import ImageSource, store_model_image
from radps.node_tasks.model_subtraction import SubtractedPower, add_subtracted_power, subtract_model_block
from radps.stages.base import StageParams
from radps.stages.subtract_continuum import GROUP as LINE_GROUP
from radps.units import Frequency

GROUP = "model_subtracted"
"""Data group of what this stage makes."""

MODEL_BYTES = 44
"""Memory for each row and channel beside the data as stored: the model as the wgridder makes it and in double
precision, and what the gridder sorts them by."""

MODEL_PLANES = 10
"""Memory in planes of the image: its Taylor terms, and the grid of the wgridder, complex and oversampled."""


class Params(StageParams):
    """Parameters of the stage `subtract_model`."""

    writes = ("groups.model_subtracted",)

    image: str | None = None
    """Name of a continuum image of this run, whose CLEAN model is subtracted, or a FITS file in Jy/pixel (path or URL);
    by default the newest continuum image of the field."""
    fields: tuple[str, ...] = ("target",)
    """Fields to subtract the model from."""
    data_group: str | None = None
    """Version of the data: "corrected", "self_calibrated"...; by default the newest that has its continuum."""
    reference_frequency: Frequency | None = None
    """Where the image holds; by default its own frequency."""
    spectral_index: float = 0.0
    """Of all of the model, on top of the Taylor terms that the image may have."""

    def files_read(self) -> tuple[str, ...]:
        """Return the image, which may be one of this run."""
        return () if self.image is None else (self.image,)


def subtract_model(context: Context, params: Params) -> Delayed:
    """Predict the visibilities of a model image by the wgridder, w-term included, and subtract them, block by block.

    What is left is the data group `model_subtracted`: the line, and what CLEAN left of the continuum, which
    `subtract_continuum` takes out after this step (CASA `uvsub`). The image has to hold the flux densities that are in
    the data, so it is not divided by the primary beam.
    """
    groups, totals = {}, []
    fields = tuple(dict.fromkeys(partition.field for partition in context.visibilities(params.fields)))
    for field in fields:
        record = _find_image(context, params, field)
        for partition in context.visibilities(field):
            group, total = _subtract_from(context, params, partition, record)
            groups[partition.name] = {GROUP: group}
            totals.append(total)
    return run_task(context, _finish, totals, groups)


def _find_image(context: Context, params: Params, field: str) -> ImageRecord | None:
    """Return the image of this run whose model is subtracted from a field; None = it is a file."""
    images = [one for one in context.images if one.kind == "continuum"]
    if params.image is not None:
        return next((one for one in images if one.name == params.image), None)
    of_field = [one for one in images if one.field == field]
    if not of_field:
        known = ", ".join(one.name for one in images) or "none"
        raise SelectionError(
            f"no continuum image of field {field!r} to subtract (continuum images: {known}); put `image_continuum` "
            "before this step, or name an image by the parameter `image`"
        )
    return of_field[-1]


def _subtract_from(
    context: Context, params: Params, partition: Partition, record: ImageRecord | None
) -> tuple[DataGroup, Delayed]:
    """Return the new data group of a partition, and the graph that makes it; it computes to a SubtractedPower."""
    name = partition.name
    source_group = params.data_group or [one for one in partition.groups if one not in (LINE_GROUP, GROUP)][-1]
    directions = {one.name: one.direction for one in context.require_observation().fields}
    direction = directions[partition.field]
    context = context.for_part(partition, source_group, record, direction)
    source = ImageSource(absolute_url(params.image or ""))
    if record is not None:
        centre = directions[record.field]
        source = ImageSource(context.locate(record.path), record.cell_size_rad, (centre.ra_rad, centre.dec_rad))
    image_url = context.locate(context.new_path("context.zarr", f"{name}/model", suffix=""))
    stored = run_task(
        context,
        store_model_image,
        source,
        (direction.ra_rad, direction.dec_rad),
        direction.frame,
        image_url,
        normalise=False,
        name=f"store_model-{name}",
    )
    blocks = plan_fixed_blocks(context, partition, source_group)
    _require_memory(context, partition, blocks, record)
    folder = context.new_path("visibilities", name)
    address = context.address(partition, source_group)
    created = run_task(
        context, create_like, address, context.locate(folder), "VISIBILITY_MODEL_SUBTRACTED", name=f"create-{name}"
    )
    path = f"{folder}/VISIBILITY_MODEL_SUBTRACTED"
    parts = map_chunks(
        context,
        subtract_model_block,
        blocks,
        stored,
        partition.field,
        image_url,
        context.locate(path),
        params.reference_frequency,
        params.spectral_index,
        name=f"subtract-{name}",
        after=created,
    )
    total = reduce_tree(context, add_subtracted_power, parts, name=f"add_power-{name}")
    return partition.groups[source_group].model_copy(update={"visibility": path}), total


def _require_memory(
    context: Context, partition: Partition, blocks: Sequence[Block], record: ImageRecord | None
) -> None:
    """Refuse blocks that do not fit; nothing is known of an image that is a file."""
    cells = count_cells(blocks, partition)
    pixels = 0 if record is None else record.shape[1] * record.shape[2]
    needed = cells * (VISIBILITY_BYTES * partition.shape[3] + MODEL_BYTES) + MODEL_PLANES * 4 * pixels
    require_memory(context, f"a block of {partition.name} and its model", needed)


def _finish(totals: Sequence[SubtractedPower], groups: dict[str, dict[str, DataGroup]]) -> Outcome:
    """Compare the power of the visibilities before and after."""
    fields: dict[str, list[SubtractedPower]] = {}
    for one in totals:
        fields.setdefault(one.field, []).append(one)
    sums = {field: add_subtracted_power(parts) for field, parts in fields.items()}
    empty = [field for field, one in sums.items() if one.weight == 0]
    rms = {
        field: (math.sqrt(one.before / one.weight), math.sqrt(one.after / one.weight))
        for field, one in sums.items()
        if one.weight > 0
    }
    worse = [field for field, (before, after) in rms.items() if after > before]
    texts = [f"rms of the visibilities of {field}: {a:.4g} Jy, before {b:.4g} Jy" for field, (b, a) in rms.items()]
    texts += [f"all data of {field} are flagged" for field in empty]
    texts += [f"the model does not fit to the data of {field}" for field in worse]
    return Outcome(
        status=OutcomeStatus.CAVEATS if empty or worse else OutcomeStatus.SUCCESS,
        message="; ".join(texts),
        groups=groups,
        qa=tuple(_score(field, after / before if before else 1.0) for field, (before, after) in rms.items()),
        summary={"fields": {field: {"rms_before_jy": b, "rms_after_jy": a} for field, (b, a) in rms.items()}},
    )


def _score(field: str, ratio: float) -> QAScore:
    """Judge the rms of the visibilities after over before: a model that fits lowers it."""
    return score_between(
        "rms of the visibilities after the subtraction over before",
        ratio,
        unit="",
        good=1.0,
        bad=1.2,
        applies_to=field,
        scope=ScoreScope.FIELD,
        hint="look whether the image is of this field, in Jy/pixel, and not corrected for the primary beam",
    )
