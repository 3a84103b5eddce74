"""Parameters of CLEAN masks, and what they are for the tasks."""

from __future__ import annotations

from typing import Literal

from dask.delayed import Delayed
from pydantic import BaseModel, ConfigDict, Field, model_validator

from radps.context.model import Context
from radps.data.images import ImageDescription
from radps.data.urls import absolute_url
from radps.domain.masks import AutoMaskOptions
from radps.graph_tasks.shapes import run_task
from radps.node_tasks.cube_imaging import ImagingRules
from radps.node_tasks.mask_files import prepare_mask
from radps.stages.base import StageParams


class AutoMaskParams(BaseModel):
    """Thresholds of an automatic mask; the defaults are CASA's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    noise_threshold: float = Field(default=5.0, gt=0.0)
    """A region starts above this many times the noise (CASA `noisethreshold`)."""
    sidelobe_threshold: float = Field(default=3.0, ge=0.0)
    """And above this many times the largest sidelobe of the brightest residual (CASA `sidelobethreshold`)."""
    low_noise_threshold: float = Field(default=1.5, gt=0.0)
    """A region grows down to this many times the noise (CASA `lownoisethreshold`)."""
    negative_threshold: float = Field(default=0.0, ge=0.0)
    """Negative regions start below minus this many times the noise; 0 is none (CASA `negativethreshold`)."""
    min_beam_fraction: float = Field(default=0.3, ge=0.0)
    """Regions smaller than this part of the beam are dropped (CASA `minbeamfrac`)."""
    smooth_factor: float = Field(default=1.0, ge=0.0)
    """Width of the smoothing of the mask in beams (CASA `smoothfactor`)."""
    cut_threshold: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Level of the smoothed mask, relative to its peak, down to which it counts (CASA `cutthreshold`)."""
    grow_iterations: int = Field(default=75, ge=0)
    """Pixels that a region may grow in a cycle (CASA `growiterations`)."""


class MaskParams(StageParams):
    """Parameters of the mask of an imaging stage."""

    mask: Literal["none", "auto"] | str = "none"
    """Where CLEAN components are allowed: "none" is everywhere; "auto" finds it from the residual of each cycle (CASA
    `usemask` auto-multithresh); else a file (path or URL): a FITS image with the pixels of the image and one plane or
    one for each channel, or regions of CASA (.crtf) or DS9 (.reg)."""
    auto_mask: AutoMaskParams | None = None
    """Thresholds of an automatic mask; by default CASA's."""

    def files_read(self) -> tuple[str, ...]:
        """Return the mask that is given, if there is one."""
        return () if self.mask in ("none", "auto") else (self.mask,)

    @model_validator(mode="after")
    def _auto_mask_is_used(self) -> MaskParams:
        if self.auto_mask is not None and self.mask != "auto":
            raise ValueError(
                f"auto_mask has thresholds of an automatic mask, but mask is {self.mask!r}: use mask: auto"
            )
        return self


def apply_mask(
    context: Context, params: MaskParams, rules: ImagingRules, description: ImageDescription, name: str
) -> tuple[ImagingRules, list[Delayed]]:
    """Return the rules with the mask, and the tasks that have to come before those that use it."""
    if params.mask == "none":
        return rules, []
    if params.mask == "auto":
        options = AutoMaskOptions(**(params.auto_mask or AutoMaskParams()).model_dump())
        return rules._replace(clean=rules.clean._replace(auto_mask=options)), []
    mask_url = context.locate(context.new_path("context.zarr", f"{name}/mask", suffix=""))
    task = run_task(
        context, prepare_mask, absolute_url(params.mask), description, mask_url, name=f"prepare_mask-{name}"
    )
    return rules._replace(mask_url=mask_url), [task]
