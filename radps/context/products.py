"""Products: files for the user."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from radps.context.base import Record
from radps.context.queries import check_word, matching


class ProductKind(enum.StrEnum):
    """What a product is."""

    FITS = "fits"
    """An image or cube."""
    MANIFEST = "manifest"
    """JSON that lists the products with their checksums."""
    TABLE = "table"
    """Numbers, such as CSV."""
    PICTURE = "picture"
    """For the eye: PNG, SVG."""
    REPORT = "report"
    """A page that explains the run."""
    OTHER = "other"


class ProductRecord(Record):
    """A file for the user."""

    path: str
    kind: ProductKind
    source: str
    """The image or table that it was made from."""
    variable: str = ""
    """The variable of an image."""
    field: str = ""
    """Field that it shows; empty = no single one."""
    window: str = ""
    """Spectral window that it shows; empty = no single one."""
    step: str = ""
    """The step that made it; the context fills it in."""
    size_bytes: int
    sha256: str


def find_products(
    products: Iterable[ProductRecord],
    *,
    kind: ProductKind | str | None = None,
    source: str | None = None,
    field: str | None = None,
    window: str | None = None,
    step: str | None = None,
) -> tuple[ProductRecord, ...]:
    """Return the products that have all of the properties that are given.

    Raises
    ------
    SelectionError
        There is no such kind of product; lists them.
    """
    check_word(kind, ProductKind, "kind of product")
    return matching(products, kind=kind, source=source, field=field, window=window, step=step)
