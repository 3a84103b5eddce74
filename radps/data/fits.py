"""FITS export of images and cubes.

XRADIO's writer makes the file: SIN projection with right ascension on the first axis and decreasing, Stokes and
frequency axes, RESTFRQ, SPECSYS, DATE-OBS, TELESCOP, OBJECT; one beam as BMAJ, BMIN, BPA, different beams as the table
``BEAMS`` (CASAMBM) that CASA and CARTA read. It writes channel by channel, so that a cube is never in memory.

Three things are done here, because XRADIO's writer leaves them to its caller: channels without a beam (NaN), which are
blank, get the largest beam of the others, as CASA's ``exportfits`` does: its ``importfits`` refuses files with beams of
NaN or of size zero; a file for another place than the local disk is written to a scratch folder and copied; and the
planes are given with m before l, as FITS has them. XRADIO would swap the axes of an array that is not read yet, which
xarray turns into a list of the indices of every pixel: 36 times the memory of a channel.
"""

from __future__ import annotations

import json
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radps.data import stores
from radps.data.images import BEAM_VARIABLE, open_image
from radps.data.urls import is_local, local_path, split_url
from radps.errors import DataError

if TYPE_CHECKING:
    import xarray

_CARD_CHARACTERS = 72
"""What a HISTORY card holds."""

EXPORT_PLANES = 6
"""Memory of an export in planes of float32: chunks as read and joined, the plane, its bytes in the order of FITS."""


def estimate_export_memory(n_l: int, n_m: int, n_polarizations: int) -> int:
    """Return the memory [byte] that :func:`export_fits` takes for images of this size: that of one channel."""
    return 4 * n_l * n_m * (EXPORT_PLANES - 1 + n_polarizations)


def export_fits(image_url: str, path: str, variable: str = "SKY", *, overwrite: bool = False) -> None:
    """Write one variable of an image store as a FITS file.

    Parameters
    ----------
    image_url : str
        The image store.
    path : str
        The file to write: a local path or any fsspec URL. Missing folders are made.
    variable : str
        e.g. ``SKY`` or ``SKY_RESIDUAL``.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    DataError
        If the image or the variable is missing, the file exists and ``overwrite`` is False, or FITS cannot hold the
        image.
    """
    from xradio.image import write_image  # seconds to import; only the export needs it

    image = open_image(image_url)
    if variable not in image.data_vars:
        known = ", ".join(sorted(str(name) for name in image.data_vars))
        raise DataError(f"image {image_url} has no variable {variable!r}; it has {known}")
    if stores.exists(path) and not overwrite:
        raise DataError(f"there is already a file {path}; choose another name, or overwrite it on purpose")
    single = _swap_axes(image[[variable]], image_url).assign_attrs(
        data_groups={"base": {"sky": variable}}, user=_history(image.attrs)
    )
    sky = single[variable]
    flag, beam = sky.attrs.pop("flag", None), sky.attrs.pop("beam_fit_params", None)
    beams = image[BEAM_VARIABLE].load()
    if beam is not None and np.isfinite(beams.values).any():
        single[BEAM_VARIABLE] = _fill_beams(beams)
        sky.attrs["beam_fit_params"] = BEAM_VARIABLE
        single.attrs["data_groups"]["base"]["beam_fit_params_sky"] = BEAM_VARIABLE
    if flag is not None:
        single[flag] = _swap_axes(image[[flag]], image_url)[flag]
        sky.attrs["flag"] = flag
        single.attrs["data_groups"]["base"]["flag"] = flag
    try:
        if is_local(path):
            write_image(single, local_path(path), out_format="fits", overwrite=overwrite)
            return
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder) / "image.fits"
            write_image(single, str(scratch), out_format="fits")
            system, target = stores.file_system(path)
            stores.require_folder(split_url(path)[0])
            system.put_file(str(scratch), target)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"variable {variable!r} of {image_url} cannot be written to FITS: {error}") from error


def _swap_axes(image: xarray.Dataset, image_url: str) -> xarray.Dataset:
    """Return an image whose variables, still not read, have m before l."""
    from xarray import Variable  # 0.5 s; XRADIO has imported it
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class SwappedArray(BackendArray):
        """An image variable of (time, frequency, polarization, m, l) that is read where it is asked for."""

        def __init__(self, url: str) -> None:
            array = stores.open_array(url)
            self.url = url
            self.shape = (*array.shape[:3], array.shape[4], array.shape[3])
            self.dtype = array.dtype

        def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
            support = indexing.IndexingSupport.BASIC
            return np.asarray(indexing.explicit_indexing_adapter(key, self.shape, support, self.read))

        def read(self, key: tuple[int | slice, ...]) -> np.ndarray:
            *planes, m, l = (slice(one, one + 1) if isinstance(one, int) else one for one in key)
            found = stores.load_array(self.url, (*planes, l, m)).swapaxes(3, 4)
            return found[tuple(0 if isinstance(one, int) else slice(None) for one in key)]

    swapped = {}
    for name, old in image.data_vars.items():
        if old.dims[3:] != ("l", "m"):
            continue  # for XRADIO to refuse
        data = indexing.LazilyIndexedArray(SwappedArray(stores.join_url(image_url, str(name))))
        swapped[name] = Variable((*old.dims[:3], "m", "l"), data, old.attrs)
    return image.assign(swapped)


def _fill_beams(beams: xarray.DataArray) -> xarray.DataArray:
    """Return beams for all planes: those without one, which are blank, get the largest of the others."""
    values = beams.values.reshape(-1, 3)
    largest = values[np.nanargmax(values[:, 0] * values[:, 1])]
    return beams.copy(data=np.where(np.isfinite(values), values, largest).reshape(beams.shape))


def _history(attrs: dict[str, object]) -> dict[str, object]:
    """Return the provenance of an image as HISTORY cards: what made it, its parameters, versions, lineage."""
    provenance = attrs.get("provenance")
    if not isinstance(provenance, dict) or not provenance:
        return {}
    lines = []
    for key, value in provenance.items():
        if isinstance(value, dict):
            lines += [f"radps {key} {name}: {json.dumps(inner)}" for name, inner in value.items()]
        elif isinstance(value, list):
            lines.append(f"radps {key}: {' '.join(map(str, value))}")
        else:
            lines.append(f"radps {key}: {value}")
    return {"HISTORY": [card for line in lines for card in _cards(line)]}


def _cards(line: str) -> list[str]:
    """Cut a line into the texts of HISTORY cards, between words where it can; a card goes on below with two spaces."""
    # Astropy would cut it too, but in the middle of a number.
    ascii_only = line.encode("ascii", "backslashreplace").decode()
    return textwrap.wrap(ascii_only, _CARD_CHARACTERS, subsequent_indent="  ", break_on_hyphens=False)
