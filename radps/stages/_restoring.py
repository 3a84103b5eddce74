"""Which beam the channels of a cube are restored with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from dask.delayed import Delayed
from pydantic import BaseModel, ConfigDict, model_validator

from radps.context.model import Context
from radps.domain.beam import RestoringBeam
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.cube_imaging import ImagingRules, sum_parts
from radps.node_tasks.cube_restoring import choose_common_beam, fit_beams, restore_channels
from radps.node_tasks.image_stores import ImageStores
from radps.units import Angle


class GivenBeam(BaseModel):
    """A restoring beam that the user gives."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    major: Angle
    """Full width at half maximum of the major axis."""
    minor: Angle
    """Full width at half maximum of the minor axis."""
    position_angle: Angle = 0.0
    """Direction of the major axis, from north through east."""

    @model_validator(mode="after")
    def _axes_are_in_order(self) -> GivenBeam:
        if not 0 < self.minor <= self.major:
            major, minor = (f"{math.degrees(axis) * 3600:.4g} arcsec" for axis in (self.major, self.minor))
            raise ValueError(f"a beam of {major} x {minor}: the minor axis has to be above 0 and at most the major one")
        return self


RestoringBeamChoice: TypeAlias = Literal["channel", "common"] | GivenBeam


def given_beam(choice: RestoringBeamChoice) -> RestoringBeam | None:
    """Return the beam that the user gives; None where it is found from the PSFs."""
    if not isinstance(choice, GivenBeam):
        return None
    return RestoringBeam(choice.major, choice.minor, choice.position_angle)


def restore_commonly(
    context: Context,
    channels: Sequence[tuple[int, int]],
    rules: ImagingRules,
    stores: ImageStores,
    name: str,
    *,
    after: Delayed,
) -> Delayed:
    """Return the graph that restores all channels of a cube with the smallest beam that contains all of theirs."""
    beams = map_chunks(context, fit_beams, channels, rules, stores.image_url, name=f"fit_beams-{name}", after=after)
    common = run_task(context, choose_common_beam, beams, name=f"choose_common_beam-{name}")
    restored = map_chunks(
        context,
        restore_channels,
        channels,
        rules,
        stores.image_url,
        stores.convergence_url,
        common,
        name=f"restore_channels-{name}",
    )
    return reduce_tree(context, sum_parts, restored, name=f"count_restored-{name}")
