"""Parameters of CLEAN masks, and what they are for the tasks."""

from __future__ import annotations

from typing import Literal

from dask.delayed import Delayed
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from radps.context.model import Context
from radps.data.images import ImageDescription
from radps.data.urls import absolute_url
from radps.domain.masks import AutoMaskOptions
from radps.domain.primary_beam import MIN_CUTOFF, find_pattern
from radps.graph_tasks.shapes import run_task
from radps.node_tasks.cube_imaging import ImagingRules
from radps.node_tasks.mask_files import prepare_mask
from radps.stages._imaging import choose_primary_beam
from radps.stages.base import StageParams


class AutoMaskParams(BaseModel):
    """Start and thresholds of an automatic mask; the defaults are CASA's."""

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
    start: str | None = None
    """A mask to begin with (path or URL): a FITS image or regions, as for `mask`. What it has stays, and the mask grows
    from there (CASA: a `mask` that is given with `usemask` auto-multithresh); none by default."""

    def options(self) -> AutoMaskOptions:
        """Return the thresholds for the tasks."""
        return AutoMaskOptions(**self.model_dump(exclude={"start"}))


class MaskParams(StageParams):
    """Parameters of the mask of an imaging stage."""

    mask: Literal["none", "auto"] | str = "none"
    """Where CLEAN components are allowed: "none" is everywhere; "auto" finds it from the residual of each cycle (CASA
    `usemask` auto-multithresh); else a file (path or URL): a FITS image with the pixels of the image and one plane or
    one for each channel, or regions of CASA (.crtf) or DS9 (.reg)."""
    auto_mask: AutoMaskParams | None = None
    """Thresholds of an automatic mask, and a mask that it starts from; by default CASA's, and none."""
    mask_primary_beam: float = Field(default=0.0, ge=0.0, lt=1.0)
    """CLEAN components are allowed where the primary beam is at this level or above, 0.03 at least, inside of `mask`;
    the noise of `n_sigma` is that of these pixels. 0 does not look at the primary beam (CASA `pbmask`)."""

    def files_read(self) -> tuple[str, ...]:
        """Return the mask that is given, if there is one."""
        given = self.given_mask
        return () if given is None else (given,)

    @property
    def given_mask(self) -> str | None:
        """The file of a mask, to be used as it is or to start from; None without one."""
        if self.mask == "auto":
            return None if self.auto_mask is None else self.auto_mask.start
        return None if self.mask == "none" else self.mask

    @property
    def mask_variables(self) -> dict[str, str]:
        """The variable of the image store that has the mask, with its unit; empty without a mask."""
        return {"MASK": ""} if self.mask != "none" or self.mask_primary_beam > 0 else {}

    @field_validator("mask_primary_beam")
    @classmethod
    def _check_level(cls, level: float) -> float:
        if 0 < level < MIN_CUTOFF:
            raise ValueError(f"primary beams are known down to {MIN_CUTOFF}; give 0 for none, or {MIN_CUTOFF} to 1")
        return level

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
    """Return the rules with the mask, and the tasks that have to come before those that use it.

    Raises
    ------
    DataError
        The mask follows the primary beam, and none is known for the telescope.
    SelectionError
        It does, and there are dishes of several diameters.
    """
    if params.mask == "auto":
        options = (params.auto_mask or AutoMaskParams()).options()
        rules = rules._replace(clean=rules.clean._replace(auto_mask=options))
    if params.mask_primary_beam > 0:
        beam = choose_primary_beam(context, params.mask_primary_beam, "mask_primary_beam")
        find_pattern(beam.telescope, float(description.frequency_hz.max()), beam.dish_diameter_m)
        rules = rules._replace(mask_beam=beam)
    if params.given_mask is None:
        return rules, []
    mask_url = context.locate(context.new_path("context.zarr", f"{name}/mask", suffix=""))
    given = absolute_url(params.given_mask)
    task = run_task(context, prepare_mask, given, description, mask_url, name=f"prepare_mask-{name}")
    return rules._replace(mask_url=mask_url), [task]
