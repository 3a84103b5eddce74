"""Lists of sky components in tables that astropy reads: ECSV, CSV, VOTable, FITS.

A column is a parameter of a component, by the names that the config uses too: ``flux``, ``reference_frequency``,
``spectral_index``, ``curvature``, ``east`` and ``north`` or ``ra`` and ``dec``, ``major``, ``minor``,
``position_angle``. Units are those of the column; without one, numbers are in SI units (Jy, Hz, rad) and texts have a
unit of their own, as in the config. ``curvature`` is one number, or a vector column.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from radps.data.files import read_file
from radps.errors import DataError

COLUMNS = {
    "flux": "Jy",
    "reference_frequency": "Hz",
    "spectral_index": "",
    "curvature": "",
    "east": "rad",
    "north": "rad",
    "ra": "rad",
    "dec": "rad",
    "major": "rad",
    "minor": "rad",
    "position_angle": "rad",
}
"""Name of a column -> unit that it is converted to."""

_FORMATS = {"ecsv": "ascii.ecsv", "csv": "ascii.csv", "vot": "votable", "xml": "votable", "fits": "fits"}


def load_component_table(url: str) -> tuple[dict[str, Any], ...]:
    """Read a table of components, one a row.

    Returns
    -------
    tuple of dict
        Name of a parameter -> value: a number in SI units, a text with a unit, or a list of numbers.

    Raises
    ------
    DataError
        There is no such file, its ending is none of ``.ecsv``, ``.csv``, ``.vot``, ``.xml``, ``.fits``, astropy cannot
        read it, or it has columns or units that mean nothing here.
    """
    from astropy import units
    from astropy.table import QTable

    ending = url.rpartition(".")[2].lower()
    if ending not in _FORMATS:
        raise DataError(f"component table {url}: its name has to end in one of .{', .'.join(_FORMATS)}")
    content = read_file(url)
    if content is None:
        raise DataError(f"component table {url}: there is no such file")
    try:
        table = QTable.read(io.BytesIO(content), format=_FORMATS[ending])
    except (ValueError, OSError, TypeError) as error:
        raise DataError(f"component table {url}: astropy cannot read it as {_FORMATS[ending]}: {error}") from error
    unknown = [name for name in table.colnames if name not in COLUMNS]
    if unknown or len(table) == 0:
        raise DataError(
            f"component table {url}: {len(table)} rows, unknown columns {', '.join(unknown) or 'none'}; it needs at "
            f"least one row, and columns are {', '.join(COLUMNS)}"
        )
    columns = {}
    for name in table.colnames:
        try:
            column = table[name]
            columns[name] = column.to_value(COLUMNS[name]) if isinstance(column, units.Quantity) else column
        except units.UnitConversionError as error:
            raise DataError(
                f"component table {url}: column {name}: {error}; it is needed in {COLUMNS[name]}"
            ) from error
    return tuple({name: _plain(values[row]) for name, values in columns.items()} for row in range(len(table)))


def _plain(value: Any) -> Any:
    """Return a cell as a plain number, text or list."""
    return np.asarray(value).tolist()
