"""The second pass over a cube: every channel restored with one beam, after all channels are CLEANed.

Channels know the beams of the others only when all are done. These tasks read models, residuals and PSFs, which they do
not write, and write restored images, beams and statistics, which they do not read: they can run twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from radps.data.convergence import convergence_urls, write_statistics
from radps.data.images import load_planes, write_beams, write_planes
from radps.domain.beam import RestoringBeam, fit_restoring_beam, restore_image
from radps.domain.common_beam import find_common_beam, smooth_to_beam
from radps.domain.primary_beam import correct_primary_beam
from radps.node_tasks.cube_imaging import ImagingRules, measure_plane

ChannelRange = tuple[int, int]


def fit_beams(channels: ChannelRange, rules: ImagingRules, image_url: str) -> list[RestoringBeam]:
    """Return the beams of the planes of some channels, fitted to their PSFs."""
    return [
        fit_restoring_beam(_load(image_url, "POINT_SPREAD_FUNCTION", channel, stokes), rules.grid)
        for channel in range(*channels)
        for stokes in range(len(rules.stokes))
    ]


def choose_common_beam(beams: Sequence[Sequence[RestoringBeam]]) -> RestoringBeam:
    """Return the smallest beam that contains those of all chunks."""
    return find_common_beam(list(chain.from_iterable(beams)))


def restore_channels(
    channels: ChannelRange, rules: ImagingRules, image_url: str, convergence_url: str, beam: RestoringBeam
) -> int:
    """Restore the planes of some channels with a beam; returns the number of channels."""
    tables = convergence_urls(convergence_url, rules.stokes)
    for channel in range(*channels):
        for stokes, table in enumerate(tables):
            _restore_plane(channel, stokes, rules, image_url, table, beam)
    return channels[1] - channels[0]


def _restore_plane(
    channel: int, stokes: int, rules: ImagingRules, image_url: str, convergence_url: str, beam: RestoringBeam
) -> None:
    own = fit_restoring_beam(_load(image_url, "POINT_SPREAD_FUNCTION", channel, stokes), rules.grid)
    if not own.is_valid:  # it stays blank, as it is
        return
    residual = smooth_to_beam(_load(image_url, "SKY_RESIDUAL", channel, stokes), own, beam, rules.grid)
    restored = restore_image(_load(image_url, "SKY_MODEL", channel, stokes), residual, beam, rules.grid)
    planes = {"SKY": restored}
    if rules.primary_beam is not None:
        pattern = _load(image_url, "PRIMARY_BEAM", channel, stokes)
        planes["SKY_PRIMARY_BEAM_CORRECTED"] = correct_primary_beam(restored, pattern)
    where = slice(channel, channel + 1)
    for variable, image in planes.items():
        write_planes(image_url, variable, where, image[np.newaxis], polarization=stokes)
    write_beams(image_url, where, *(np.array([value]) for value in beam), polarization=stokes)
    mask = load_planes(image_url, "MASK", where, polarization=stokes)[0] if rules.has_mask else None
    write_statistics(convergence_url, channel, measure_plane(restored, residual, mask))


def _load(image_url: str, variable: str, channel: int, stokes: int) -> NDArray[np.float32]:
    plane: NDArray[np.float32] = load_planes(image_url, variable, slice(channel, channel + 1), polarization=stokes)[0]
    return plane
