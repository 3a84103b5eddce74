"""A block: the part of the visibilities that one task works on."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from radps.data.addresses import VisibilityAddress
from radps.data.visibilities import VisibilityChunk, load_visibilities


class Block(BaseModel):
    """Some times and channels of one partition; all its baselines and polarizations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: str
    address: VisibilityAddress
    times: tuple[int, int]
    """First time, and one after the last."""
    channels: tuple[int, int]
    """First channel, and one after the last."""

    @property
    def time_slice(self) -> slice:
        """The times as a slice."""
        return slice(*self.times)

    @property
    def channel_slice(self) -> slice:
        """The channels as a slice."""
        return slice(*self.channels)

    def load(self, variables: Iterable[str] = ("visibility", "flag", "weight", "uvw")) -> VisibilityChunk:
        """Read the block into memory."""
        return load_visibilities(self.address, times=self.time_slice, channels=self.channel_slice, variables=variables)
