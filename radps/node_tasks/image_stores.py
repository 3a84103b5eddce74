"""Create the stores of an image on a worker."""

from __future__ import annotations

from typing import Any, NamedTuple

from radps.data.convergence import convergence_urls, create_convergence
from radps.data.images import ImageDescription, create_image
from radps.data.stores import join_url, load_array


class ImageStores(NamedTuple):
    """Where an image and its convergence table go, and what is in them."""

    image_url: str
    convergence_url: str
    variables: tuple[str, ...]
    max_cycles: int
    provenance: dict[str, Any]
    """Who made it; of :func:`radps.context.lineage.product_attributes`."""
    units: dict[str, str] | None = None
    """Units of variables that are not in Jy/beam."""


def create_image_stores(stores: ImageStores, description: ImageDescription) -> None:
    """Create the stores of an image; doing it twice changes nothing."""
    create_image(
        stores.image_url,
        description,
        variables=stores.variables,
        provenance=stores.provenance,
        units=stores.units,
    )
    attributes = {"step": str(stores.provenance["step"]), "object": description.object_name}
    for url, stokes in zip(
        convergence_urls(stores.convergence_url, description.polarizations), description.polarizations, strict=True
    ):
        of_plane = attributes | ({"stokes": stokes} if len(description.polarizations) > 1 else {})
        create_convergence(url, description.frequency_hz, stores.max_cycles, of_plane)


def create_cube_stores(
    stores: ImageStores, description: ImageDescription, partition_url: str, channels: tuple[int, int]
) -> None:
    """Create the stores of a cube, whose frequencies are those of the partition's channels."""
    frequency_hz = load_array(join_url(partition_url, "frequency"), (slice(*channels),))
    create_image_stores(stores, description._replace(frequency_hz=frequency_hz))
