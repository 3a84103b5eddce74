"""How large an image is, and what is given up where it would be too large (size mitigation).

1. Wanted are a field of view, in units of the primary beam, and a number of pixels across the synthesized beam.
2. Where the image has too many pixels, the field of view shrinks, down to its lower limit.
3. Where that is not enough, the pixels grow, down to the lower limit of pixels across the beam.
4. Where that is not enough either, the image stays too large: the caller has to say so.
"""

from __future__ import annotations

from typing import NamedTuple

from radps.domain.geometry import find_good_size_within, suggest_image_size

BYTES_PER_PIXEL = 4
"""Images are stored in single precision."""

_ROUNDING = 1e-9
"""Fields of view that differ by less are the same."""


class PixelGoal(NamedTuple):
    """What is wanted of the pixels of an image, and the least that will do."""

    beam_rad: float
    """Width of the synthesized beam."""
    primary_beam_rad: float
    """Full width at half maximum of the primary beam."""
    field_of_view: float
    """Width of the image in units of the primary beam."""
    min_field_of_view: float
    pixels_per_beam: float
    """Pixels across the synthesized beam."""
    min_pixels_per_beam: float


class Pixels(NamedTuple):
    """The pixels of an image."""

    image_size: int
    """Along each side."""
    cell_size_rad: float
    field_of_view: float
    """Width of the image in units of the primary beam; as wanted, unless it was reduced."""
    pixels_per_beam: float


def count_image_bytes(image_size: int, n_channels: int) -> int:
    """Return the size of one variable of a square image or cube."""
    return image_size**2 * n_channels * BYTES_PER_PIXEL


def _reach(width_rad: float, goal: PixelGoal) -> float:
    """Return the field of view of an image [primary beams]; above the horizon there may be less than is wanted."""
    reach = width_rad / goal.primary_beam_rad
    return reach if reach < goal.field_of_view * (1 - _ROUNDING) else goal.field_of_view


def choose_pixels(goal: PixelGoal, n_channels: int, max_bytes: float) -> Pixels:
    """Return the pixels of an image of at most ``max_bytes``, if its limits allow that.

    Parameters
    ----------
    goal : PixelGoal
        What is wanted; its limits are not above what is wanted.
    n_channels : int
        Channels of the image.
    max_bytes : float
        Size of one variable of the image.
    """
    cell = goal.beam_rad / goal.pixels_per_beam
    size = suggest_image_size(goal.field_of_view * goal.primary_beam_rad, cell)
    if count_image_bytes(size, n_channels) <= max_bytes:
        return Pixels(size, cell, _reach(size * cell, goal), goal.pixels_per_beam)
    size = find_good_size_within((max_bytes / n_channels / BYTES_PER_PIXEL) ** 0.5)
    field_of_view = size * cell / goal.primary_beam_rad
    if field_of_view >= goal.min_field_of_view:
        return Pixels(size, cell, min(field_of_view, goal.field_of_view), goal.pixels_per_beam)
    cell = goal.min_field_of_view * goal.primary_beam_rad / size
    pixels_per_beam = goal.beam_rad / cell
    if pixels_per_beam >= goal.min_pixels_per_beam:
        return Pixels(size, cell, goal.min_field_of_view, pixels_per_beam)
    cell = goal.beam_rad / goal.min_pixels_per_beam
    size = suggest_image_size(goal.min_field_of_view * goal.primary_beam_rad, cell)
    return Pixels(size, cell, goal.min_field_of_view, goal.min_pixels_per_beam)
