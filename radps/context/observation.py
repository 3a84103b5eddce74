"""The observation: project, antennas, fields, spectral windows, scans, partitions of the data.

Paths are relative to the run folder, so that a copy of the folder at another place works as it is. Arrays stand in zarr
stores; the models only say where.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from radps.context.base import Record
from radps.context.telescopes import TelescopeExtension


class DataSetMetadata(Record):
    """Where the data of one data set come from, as far as the data say."""

    name: str
    telescope: str
    project: str = ""
    """Code of the observatory's project, or the UID of an ALMA project."""
    observer: str = ""
    start_s: float
    """Start of the first integration, UTC [unix s]."""
    stop_s: float
    """End of the last integration."""


class ProjectMetadata(Record):
    """The project that was observed; what differs between data sets stands there."""

    title: str = ""
    """As the config names the project."""
    datasets: tuple[DataSetMetadata, ...]

    @property
    def code(self) -> str:
        """Codes of the project, each one once."""
        return join_distinct(one.project for one in self.datasets)

    @property
    def observer(self) -> str:
        """Observers, each one once."""
        return join_distinct(one.observer for one in self.datasets)

    @property
    def telescope(self) -> str:
        """Telescopes, each one once."""
        return join_distinct(one.telescope for one in self.datasets)

    @property
    def time_range_s(self) -> tuple[float, float]:
        """Start of the first and end of the last integration of all data sets, UTC [unix s]."""
        return min(one.start_s for one in self.datasets), max(one.stop_s for one in self.datasets)


class Antenna(Record):
    """One antenna of the array."""

    name: str
    station: str
    position_m: tuple[float, float, float]
    """Geocentric (ITRF) position [m]."""
    diameter_m: float
    """0 = the data do not say."""


class Direction(Record):
    """A direction on the sky."""

    ra_rad: float
    dec_rad: float
    frame: str
    """``icrs`` or ``fk5``."""


class ObservedField(Record):
    """A field of the observation: one phase centre."""

    name: str
    source: str
    direction: Direction
    intents: tuple[str, ...]
    """MSv4 scan intents, such as ``OBSERVE_TARGET#ON_SOURCE``."""


class SpectralWindow(Record):
    """A spectral window of one data set, and the virtual window that it belongs to over all data sets."""

    name: str
    virtual: int
    """Number of the :class:`VirtualWindow` that it is a member of."""
    frequency_hz: tuple[float, float]
    """Centres of the first and of the last channel [Hz]."""
    n_channels: int
    channel_width_hz: float
    frame: str
    rest_frequency_hz: float | None = None
    label: str = ""
    """Its name in the data, such as ``ALMA_RB_06#BB_1#SW-01#FULL_RES_17``."""

    @property
    def edges_hz(self) -> tuple[float, float]:
        """Lower edge of the lowest and upper edge of the highest channel [Hz]."""
        half = abs(self.channel_width_hz) / 2
        return min(self.frequency_hz) - half, max(self.frequency_hz) + half

    @property
    def middle_hz(self) -> float:
        """Frequency of the middle [Hz]."""
        return 0.5 * sum(self.frequency_hz)


class VirtualWindow(Record):
    """What is one spectral window over all data sets: windows that match each other, one of each data set at most."""

    number: int
    name: str
    """That of its first member."""
    frequency_hz: tuple[float, float]
    """Lowest and highest edge of its members [Hz]."""
    frame: str
    members: tuple[str, ...]
    """Names of spectral windows, in the order of the data sets."""


class Scan(Record):
    """A scan: one field, one span of time."""

    name: str
    field: str
    start_s: float
    stop_s: float


class DataGroup(Record):
    """Which arrays belong together as one version of the visibilities (MSv4's data groups)."""

    visibility: str
    flag: str
    weight: str
    uvw: str


class Partition(Record):
    """One MSv4 of the processing set: one field, one spectral window, one data set."""

    name: str
    dataset: str
    path: str
    """The MSv4 group: coordinates and antennas. Absolute if it is one of the user's that was not copied."""
    field: str
    window: str
    intents: tuple[str, ...]
    shape: tuple[int, int, int, int]
    """Times, baselines, channels, polarizations."""
    chunks: tuple[int, int]
    """Times and channels of one zarr chunk."""
    polarizations: tuple[str, ...]
    integration_time_s: float
    """0 = the data do not say."""
    cross_baselines: int = 0
    """Baselines of two different antennas; 0 = not counted."""
    scans: dict[str, tuple[int, int]]
    """Scan -> its first time, and one after its last."""
    content: str = ""
    """Hash of the data set, if it is used where the user has it: there its path does not tell versions apart."""
    groups: dict[str, DataGroup]
    """Versions of the data by name, oldest first: ``base``, ``corrected``, ``continuum_subtracted``."""


class Observation(Record):
    """What was observed, with what, when."""

    project: ProjectMetadata
    antennas: tuple[Antenna, ...]
    fields: tuple[ObservedField, ...]
    windows: tuple[SpectralWindow, ...]
    virtual_matching: Literal["exact", "overlap"] = "overlap"
    """How windows of different data sets were matched to virtual windows."""
    scans: tuple[Scan, ...]
    partitions: tuple[Partition, ...]
    longest_baseline_m: float
    synthesized_beam_rad: float
    """Estimate: wavelength of the band's centre over the longest baseline [rad]."""
    extension: TelescopeExtension | None = None
    """What only this telescope has; None for telescopes without a model of their own."""

    @property
    def telescope(self) -> str:
        """Name of the telescope, as the data have it."""
        return self.project.telescope

    @property
    def observer(self) -> str:
        """Names of the observers, as the data have them."""
        return self.project.observer

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets."""
        return tuple(one.name for one in self.project.datasets)

    @property
    def array_center_m(self) -> tuple[float, float, float]:
        """Mean of the antennas' positions, geocentric (ITRF) [m]."""
        x, y, z = np.mean([antenna.position_m for antenna in self.antennas], axis=0).tolist()
        return x, y, z

    @property
    def virtual_windows(self) -> tuple[VirtualWindow, ...]:
        """The map of virtual windows, in the order of their numbers."""
        members: dict[int, list[SpectralWindow]] = {}
        for window in self.windows:
            members.setdefault(window.virtual, []).append(window)
        return tuple(_virtual_window(number, members[number]) for number in sorted(members))


def join_distinct(texts: Iterable[str]) -> str:
    """Join the different texts that are not empty."""
    return ", ".join(dict.fromkeys(text for text in texts if text))


def list_some(names: Sequence[str], most: int = 8) -> str:
    """Join names; of many the first ones, with the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _virtual_window(number: int, members: list[SpectralWindow]) -> VirtualWindow:
    edges = [window.edges_hz for window in members]
    return VirtualWindow(
        number=number,
        name=members[0].name,
        frequency_hz=(min(low for low, _ in edges), max(high for _, high in edges)),
        frame=members[0].frame,
        members=tuple(window.name for window in members),
    )
