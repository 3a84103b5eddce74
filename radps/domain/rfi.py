"""Interference: AOFlagger on the visibilities in memory, one baseline after the other.

1. The visibilities of a baseline are an image of time and frequency, in real and imaginary parts of each correlation.
2. AOFlagger's strategy (a program in Lua) looks for what is brighter than its neighbours in time or frequency:
   SumThreshold on the amplitudes less a smooth background, three times with a falling threshold, then the
   scale-invariant rank operator, which extends flags to where interference was probably going on below the noise.
3. What it finds holds for all correlations of the baseline.

No random numbers are drawn and one thread is used, so that the same data give the same flags. A baseline does not know
of the others. It does matter which times it is shown together: neighbours in time make the background.

Which strategy: those that come with AOFlagger are named in :data:`STRATEGIES` by telescope; all others get
``generic-default``. The VLA gets it too: ``jvla-default`` takes the data for 48 parts of a wide band and makes all of
them equally bright, which hides a carrier that is always on in a single window of some tens of channels.

Where it fails: it does not know the sky or the instrument. The steep edges of a raw bandpass on a bright calibrator
look like interference (flag edge channels first, or use calibrated data), and so do a bright line that is narrow, and
bright sources far from the phase centre, whose fringes beat within the smoothing of the background (some 20
integrations and 30 channels): there, subtract a model before. It needs some tens of channels; in a few integrations it
sees carriers only.

References
----------
Offringa et al. 2010, MNRAS 405, 155 (SumThreshold and its rivals).
Offringa, van de Gronde & Roerdink 2012, A&A 539, A95 (scale-invariant rank operator).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radps.errors import DataError, MissingPackageError, SelectionError

GENERIC_STRATEGY = "generic-default"

STRATEGIES = {
    "AARTFAAC": "aartfaac-default",
    "ATCA": "atca-default",
    "LOFAR": "lofar-default",
    "MWA": "mwa-default",
    "NENUFAR": "nenufar-default",
    "WSRT": "wsrt-default",
}
"""Telescope -> the strategy of AOFlagger that is made for its data. That for Apertif is not among them: it asks for the
position of the channels in the band, which AOFlagger cannot be told in memory. That for the MWA takes windows for its
whole band, too: for parts of it ask for the generic one."""

_CORRELATIONS = (1, 2, 4)
"""Numbers of correlations of an image set of AOFlagger."""


def choose_strategy(telescope: str) -> str:
    """Return the name of the strategy for a telescope; that for all telescopes if there is none of its own."""
    return STRATEGIES.get(telescope.upper(), GENERIC_STRATEGY)


def find_strategy_file(strategy: str) -> str:
    """Return the path of a strategy that comes with AOFlagger.

    Parameters
    ----------
    strategy : str
        Its name, such as ``generic-default``.

    Raises
    ------
    MissingPackageError
        AOFlagger is not installed.
    SelectionError
        There is no such strategy; lists those there are.
    """
    aoflagger = require_aoflagger()
    folder = Path(aoflagger.AOFlagger().find_strategy_file(aoflagger.TelescopeId.Generic)).parent
    known = sorted(path.stem for path in folder.glob("*.lua"))
    if strategy not in known:
        raise SelectionError(
            f"there is no strategy {strategy!r} for AOFlagger; there are: {', '.join(known)}; one of your own is the "
            "path of a file that ends in .lua"
        )
    return str(folder / f"{strategy}.lua")


def detect_interference(
    visibilities: NDArray[np.complex64], flags: NDArray[np.bool_], strategy_file: str
) -> NDArray[np.bool_]:
    """Find interference by AOFlagger.

    Parameters
    ----------
    visibilities : ndarray of complex, shape (time, baseline, channel, polarization)
        Consecutive times and all channels of a spectral window, finite, in any unit; 1, 2 or 4 polarizations.
    flags : ndarray of bool, same shape
        True = known to be bad: does not count where the strategy asks for it (``generic-default`` does). AOFlagger has
        one flag for all correlations: a sample is bad for it if any of them is.
    strategy_file : str
        Path of a strategy, from :func:`find_strategy_file`.

    Returns
    -------
    ndarray of bool, shape (time, baseline, channel, 1)
        True = interference. Baselines that are flagged altogether are not looked at.

    Raises
    ------
    MissingPackageError
        AOFlagger is not installed.
    DataError
        The number of polarizations is not 1, 2 or 4, or AOFlagger cannot run the strategy.
    """
    n_times, n_baselines, n_channels, n_polarizations = visibilities.shape
    if n_polarizations not in _CORRELATIONS:
        raise DataError(f"AOFlagger takes 1, 2 or 4 correlations; found {n_polarizations}")
    flagger = require_aoflagger().AOFlagger()
    found = np.zeros((n_times, n_baselines, n_channels, 1), np.bool_)
    try:
        strategy = flagger.load_strategy_file(strategy_file)
        images = flagger.make_image_set(n_times, n_channels, 2 * n_polarizations)
        for baseline in range(n_baselines):
            known = flags[:, baseline].any(axis=-1)
            if known.all():
                continue
            mask = flagger.make_flag_mask(n_times, n_channels, False)
            mask.set_buffer(np.ascontiguousarray(known.T))
            for number in range(n_polarizations):
                plane = visibilities[:, baseline, :, number].T
                images.set_image_buffer(2 * number, np.ascontiguousarray(plane.real, np.float64))
                images.set_image_buffer(2 * number + 1, np.ascontiguousarray(plane.imag, np.float64))
            found[:, baseline, :, 0] = strategy.run(images, mask).get_buffer().T & ~known
    except RuntimeError as error:
        raise DataError(f"AOFlagger cannot run the strategy {strategy_file}: {error}; check the file") from error
    return found


def require_aoflagger() -> Any:
    """Return the module of AOFlagger; imported where it is used, because it is optional and under another licence.

    Raises
    ------
    MissingPackageError
        It is not installed.
    """
    try:
        import aoflagger
    except ImportError as error:
        raise MissingPackageError(
            "flagging of interference needs AOFlagger, which is not installed; pip install 'radps[rfi]'"
        ) from error
    return aoflagger
