"""Addresses of data: what a task gets instead of arrays.

An address is a small frozen model of URLs. A later stage that makes a new version of a variable (corrected
visibilities, new flags) writes only that variable and hands on an address that differs in one URL.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from radps.data.urls import join_url


class VisibilityAddress(BaseModel):
    """Where the arrays of one MSv4 partition lie; each URL is a local path or any fsspec URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    """The MSv4 group: time, frequency, baselines, polarization, scans and antennas."""
    visibility: str
    """Zarr array of visibilities, (time, baseline, channel, polarization) complex64 [Jy, or uncalibrated]."""
    flag: str
    """Zarr array of flags, same shape, bool; True = do not use."""
    weight: str
    """Zarr array of weights, same shape, float32: 1/sigma^2 of a real part [Jy^-2]."""
    uvw: str
    """Zarr array of baseline vectors, (time, baseline, 3) float64 [m], MSv4 sign."""

    @classmethod
    def of_measurement_set(cls, url: str) -> VisibilityAddress:
        """Return the address of the variables that an MSv4 group itself holds (data group ``base``)."""
        return cls(
            store=url,
            visibility=join_url(url, "VISIBILITY"),
            flag=join_url(url, "FLAG"),
            weight=join_url(url, "WEIGHT"),
            uvw=join_url(url, "UVW"),
        )
