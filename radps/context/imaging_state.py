"""The imaging state: the list of images to make, and the images that were made.

1. A step puts entries into the list (`plan_images`): what to image, with which pixels, and what to expect of it.
2. A later step refines an entry: its outcome has an entry of the same name, which takes the place of the old one.
3. The imaging stages take from the entry of their mode what their own parameters leave open, and name the entry in the
   record of the image. So it is marked as made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self, get_args

from pydantic import Field

from radps.context.base import Record
from radps.context.queries import check_word, matching

ImageMode = Literal["cube", "continuum"]
ImageKind = Literal["cube", "continuum", "moment"]


class FrequencyRange(Record):
    """A range of frequencies, both ends included, in the frame of the data."""

    start_hz: float
    stop_hz: float
    frame: str
    origin: str
    """``config`` or the name of the stage that found it."""
    field: str = ""
    """Field that it holds for; empty = all."""
    window: str = ""
    """Spectral window that it holds for; empty = all."""


class LineSearch(Record):
    """How the line-free channels of a field in a spectral window came about."""

    field: str
    window: str
    coverage: Literal["some", "all", "none", "no data"]
    """How much of the band is line-free; for ``none`` and ``no data`` there are no ranges."""
    origin: str
    """``config`` or the name of the stage that searched."""
    n_channels: int
    """Channels of the window."""
    n_line_free: int
    threshold: float | None = None
    """Significance from which a residual is a line; None where the user gave the ranges."""
    largest: float | None = None
    """Largest significance of a channel."""
    spectrum: str | None = None
    """Group of the arrays that it was decided on, in the context's tree."""


class Beam(Record):
    """A restoring beam (full widths at half maximum)."""

    major_rad: float
    minor_rad: float
    position_angle_rad: float
    """North through east."""


class StatisticsRecord(Record):
    """Statistics of the main variable of an image [Jy/beam]."""

    max: float
    min: float
    rms: float


class ImagedData(Record):
    """Data that an image is made of."""

    partition: str
    group: str
    """Version of the data."""
    channels: tuple[tuple[int, int], ...]
    """Half-open ranges of its channels; for a cube on an axis of its own those that it may be made of."""


class ImageRecord(Record):
    """An image or cube."""

    name: str
    kind: ImageKind
    path: str
    """XRADIO image store."""
    variable: str
    """The main variable of the store."""
    companions: tuple[str, ...] = ()
    """The other variables of the store."""
    convergence: str | None = None
    """Table of how the solver went, in the context's tree."""
    step: str = ""
    """The step that made it; the context fills it in."""
    planned: str | None = None
    """Name of the entry in the list of images to make that it comes from."""
    field: str
    window: str
    """Spectral window that the spectral coordinate comes from; the first one, if there are several."""
    spectral_frame: str = ""
    """Frame of the frequencies; empty = that of the window."""
    rest_frequency_hz: float | None = None
    """Of the line that velocities are of; None = that of the window, if it has one."""
    shape: tuple[int, int, int]
    """Channels, pixels along l, pixels along m."""
    cell_size_rad: float
    frequency_hz: tuple[float, float]
    """Centres of the first and of the last channel [Hz]."""
    channel_width_hz: float
    interpolation: Literal["linear", "nearest"] | None = None
    """How channels of the data were brought to those of a cube; None = they are the same."""
    statistics: StatisticsRecord
    noise_jy: float
    """Robust standard deviation of the residual, per beam; for a cube the median of the channels that have data."""
    polarizations: tuple[str, ...] = ("I",)
    """Stokes parameters of the planes; statistics, noise and beam are those of the first."""
    polarization_noise_jy: dict[str, float] = Field(default_factory=dict)
    """Stokes parameter -> noise of its planes, where there are several."""
    beam: Beam | None = None
    """For a cube: of the channel in the middle."""
    mask_share: float = 1.0
    """Mean part of the pixels where CLEAN components were allowed at the end; 1 without a mask."""
    channels: dict[str, int] = Field(default_factory=dict)
    """Stop reason -> number of channels that ended with it."""
    listed: tuple[str, ...] = ()
    """Channels that need a look: diverged, without data."""
    data: tuple[ImagedData, ...] = ()
    """What it is made of; empty for images that are made of images."""

    def describe(self) -> str:
        """Return maximum and noise in words, and of a cube the number of channels."""
        n_channels = self.shape[0]
        channels = f"{n_channels} channels, " if n_channels > 1 else ""
        noise = f", noise {self.noise_jy * 1e3:.3g} mJy/beam" if self.noise_jy > 0 else ""
        return f"{self.name}: {channels}maximum {self.statistics.max * 1e3:.4g} mJy/beam{noise}"

    def describe_stops(self) -> str:
        """Return why the solvers of the channels stopped, such as ``n_sigma 40, max_iterations 6``."""
        return ", ".join(f"{reason} {count}" for reason, count in self.channels.items())


class SizeReduction(Record):
    """One thing that was made smaller so that an image fits (size mitigation)."""

    quantity: Literal["field of view [primary beams]", "pixels per beam"]
    wanted: float
    used: float


class PlannedImage(Record):
    """An entry of the list of images to make."""

    name: str
    mode: ImageMode
    field: str
    virtual_windows: tuple[int, ...]
    """Numbers of the virtual spectral windows that go into it: one for a cube."""
    image_size: int
    """Pixels along each side."""
    cell_size_rad: float
    channels: tuple[str, ...] | None = None
    """Ranges as a user writes them, such as ``4~6``; None = all for a cube, the line-free ones for the continuum."""
    weighting: Literal["natural", "uniform", "briggs"] = "briggs"
    robust: float = 0.5
    """Briggs' robustness."""
    beam_rad: float
    """Estimate of the synthesized beam: wavelength over the longest baseline [rad]."""
    noise_jy: float | None = None
    """Expected thermal noise of the image or of a channel, natural weights, per beam; None = not known."""
    assumptions: tuple[str, ...] = ()
    """What the estimates take for granted."""
    size_bytes: int
    """Of the image in single precision, one variable."""
    reductions: tuple[SizeReduction, ...] = ()
    """What was made smaller to keep the size within its limit; empty = nothing."""
    state: Literal["wanted", "made"] = "wanted"
    image: str | None = None
    """Name of the image that was made of it."""


class ImagingState(Record):
    """The list of images to make."""

    planned: tuple[PlannedImage, ...] = ()

    def find(self, mode: ImageMode, field: str, virtual_windows: Iterable[int]) -> PlannedImage | None:
        """Return the entry of a mode and field for these virtual windows, the last one if there are several."""
        wanted = set(virtual_windows)
        for one in reversed(self.planned):
            if (one.mode, one.field, set(one.virtual_windows)) == (mode, field, wanted):
                return one
        return None

    def changed(self, planned: Iterable[PlannedImage], images: Iterable[ImageRecord]) -> Self:
        """Return the state with entries put in or refined, and those that images come from marked as made."""
        entries = {one.name: one for one in self.planned}
        entries.update({one.name: one for one in planned})
        for image in images:
            if image.planned in entries:
                made = {"state": "made", "image": image.name}
                entries[image.planned] = entries[image.planned].model_copy(update=made)
        return self.model_copy(update={"planned": tuple(entries.values())})


def find_images(
    images: Iterable[ImageRecord],
    *,
    kind: ImageKind | None = None,
    field: str | None = None,
    window: str | None = None,
    step: str | None = None,
) -> tuple[ImageRecord, ...]:
    """Return the images that have all of the properties that are given.

    Raises
    ------
    SelectionError
        There is no such kind of image; lists them.
    """
    check_word(kind, get_args(ImageKind), "kind of image")
    return matching(images, kind=kind, field=field, window=window, step=step)
