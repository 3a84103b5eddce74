"""Words that users bring along: what is not there yet, with what to do instead, and CASA's names of what there is."""

from __future__ import annotations

import re
from collections.abc import Collection

_NOT_THERE = {
    "leakage|dterms?|polcal|df|crosshand|kcross|polarization_calibration": (
        "leakage between the feeds and cross-hand phases are not solved yet: correct them before the import (CASA "
        "`polcal`), or believe no polarization below some per cent"
    ),
    "gain_?curves?|gceff|efficiency": (
        "gain curves are not applied yet: apply them before the import (CASA `gencal` with caltype 'gceff'), or use "
        "calibrators at the elevation of the target"
    ),
    "opacity|opac|tau": (
        "opacities are not applied yet: apply them before the import (CASA `gencal` with caltype 'opac'), or use "
        "calibrators at the elevation of the target"
    ),
    "t_?sys|system_temperatures?|wvr|wvrgcal": (
        "system temperatures and water vapour are not applied yet: apply them before the import (CASA `gencal`, "
        "`wvrgcal`, `applycal`)"
    ),
    "gencal": (
        "gain curves, opacities, system temperatures and antenna positions are not applied yet: apply them before the "
        "import"
    ),
    "importasdm|asdm": "an ASDM is not read yet: make an MSv2 of it by CASA `importasdm`, then use `import_data`",
    "mosaic|phasecenter|ephemeris": (
        "mosaics and moving sources are not imaged yet: choose one pointing of a fixed source by `import_data: "
        "{fields}`"
    ),
    "uv_?range": (
        "baselines are not chosen by their length yet: `weighting`, `robust` and `taper` choose the beam, and "
        "`set_model: {model_images}` makes up for a resolved calibrator"
    ),
    "listobs": "it is a command: radps-run describe DATA",
    "statwt": (
        "weights by the scatter of the data are not made: `apply_calibration: {calibrate_weights: true}` scales those "
        "that there are"
    ),
}
"""Patterns of words -> what is not there, and what to do."""

CASA_TASKS = {
    "importuvfits": ("import_data",),
    "split": ("import_data",),
    "mstransform": ("import_data",),
    "concat": ("import_data",),
    "flagdata": ("flag", "flag_rfi"),
    "flagmanager": ("restore_flags",),
    "setjy": ("set_model",),
    "ft": ("set_model",),
    "gaincal": ("calibrate",),
    "bandpass": ("calibrate",),
    "fluxscale": ("calibrate",),
    "applycal": ("apply_calibration",),
    "uvcontsub": ("find_continuum", "subtract_continuum"),
    "uvsub": ("subtract_model",),
    "clean": ("image_continuum", "image_cube"),
    "tclean": ("image_continuum", "image_cube"),
    "immoments": ("moments",),
    "specflux": ("spectra",),
    "exportfits": ("export",),
    "plotms": ("report",),
    "hif_findcont": ("find_continuum",),
    "hif_makeimlist": ("plan_images",),
    "hif_makeimages": ("image_continuum", "image_cube"),
    "hif_selfcal": ("self_calibrate",),
}
"""Tasks of CASA and of its pipeline -> the stages that do this."""

CASA_PARAMETERS = {
    "imsize": ("image_size",),
    "cell": ("cell_size",),
    "niter": ("max_iterations",),
    "nmajor": ("max_cycles",),
    "nsigma": ("n_sigma",),
    "cyclefactor": ("cycle_factor",),
    "smallscalebias": ("scale_bias",),
    "usemask": ("mask",),
    "pbmask": ("mask_primary_beam",),
    "restoringbeam": ("restoring_beam",),
    "perchanweightdensity": ("weight_density",),
    "uvtaper": ("taper",),
    "pbcor": ("primary_beam_correction",),
    "pblimit": ("primary_beam_cutoff",),
    "outframe": ("frame",),
    "nchan": ("n_channels",),
    "restfreq": ("rest_frequency",),
    "veltype": ("velocity_convention",),
    "nterms": ("n_terms",),
    "antenna": ("antennas",),
    "spw": ("windows", "spectral_windows", "channels"),
    "solint": ("solution_interval",),
    "calmode": ("mode",),
    "refant": ("reference_antenna",),
    "minsnr": ("min_snr",),
    "minblperant": ("min_baselines",),
    "datacolumn": ("data_group",),
    "gridder": ("w_term",),
    "parang": ("parallactic_angle",),
    "gaintype": ("delays",),
    "bandtype": ("bandpass",),
    "spwmap": ("window_map",),
    "gainfield": ("gain_fields",),
    "interp": ("time_interpolation",),
    "calwt": ("calibrate_weights",),
    "fitorder": ("order", "spectral_order"),
    "fitspec": ("line_free",),
    "quackinterval": ("quack_begin",),
    "clipminmax": ("clip",),
    "excludepix": ("cut",),
    "chans": ("velocity_range", "channels"),
}
"""Parameters of CASA -> the parameters that mean this, in one stage or another."""


def explain_missing(word: str) -> str:
    """Return what is not there yet and what to do instead, for a word that asks for it; empty for other words."""
    for pattern, text in _NOT_THERE.items():
        if re.fullmatch(rf"(solve_|apply_|calibrate_|correct_)?({pattern})(_calibration|_correction)?", word.lower()):
            return text
    return ""


def say_own_word(word: str, known: Collection[str]) -> str:
    """Return radps' own names for a name of CASA, as a part of a sentence; empty if it is none, or none is known.

    Parameters
    ----------
    word : str
        What a user wrote.
    known : collection of str
        Stages, or parameters of the stage.
    """
    names = [name for name in (*CASA_TASKS.get(word, ()), *CASA_PARAMETERS.get(word, ())) if name in known]
    return f"; it is {' or '.join(map(repr, names))} here" if names else ""
