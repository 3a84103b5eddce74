"""What the numbers behind the QA scores mean: a sentence for each measure, for the page that shows it."""

from __future__ import annotations

from collections.abc import Iterable

from radps.context.records import QAScore

_MEANINGS = {
    "fields without intent": "Fields of which the data do not say what they are for; no stage finds them by role.",
    "unflagged data": "Part of the data that arrived unflagged.",
    "baseline vectors against antenna positions": (
        "How well the uvw coordinates agree with the positions of the antennas; less than 1 means a wrong array table."
    ),
    "flagged fraction": "Part of the data of a field that is flagged after the step; what is lost raises the noise.",
    "flagged": "Part of the solutions that found too little signal; their data are lost when the table is applied.",
    "data far off the": "Data that a robust solution weighed down or left out; they are not flagged by it.",
    "misfit of the bandpass": "What polynomials, smoothing or averages do not follow; it stays in the data.",
    "signal-to-noise of": "Median of the solutions: 20 is an error of 3 degrees, 5 one of 11.",
    "scatter of gain amplitudes": "What amplitudes of an antenna do in time: its receiver, the weather, its pointing.",
    "change of gain phases": "What the atmosphere does between two solutions; targets are interpolated over it.",
    "error of the transferred flux density": "Its scatter between antennas; the target's flux scale is as uncertain.",
    "data without a solution": "Data that were flagged because no calibration solution covers them.",
    "rows without a continuum fit": "Rows with too few line-free channels for a fit; they are flagged.",
    "line-free channels": "Part of the channels without a line; the continuum is fitted to these alone.",
    "wanted size kept": "How much of the wanted image fits what the machine can hold.",
    "phase rms of long baselines": (
        "Scatter of calibrated phases about the model; it smears sources, the more the longer the baseline."
    ),
    "closure error of phases": "Errors that gains of antennas cannot mend; they limit the dynamic range.",
    "closure error of amplitudes": "The same of amplitudes.",
    "calibrators of known flux density": "Without one, all flux densities of the run are relative.",
    "baselines on which the point model holds": (
        "Part of the array, by the length of baselines, to which a catalogued calibrator is a point to 5 %."
    ),
    "flux density left on the longest baseline": "What the array's outer antennas see of a calibrator's model.",
    "difference to the catalogue": "The flux density of a given model against that of Perley & Butler 2017.",
    "blank channels of the spectrum": "Channels of the spectrum without data.",
    "peak of the spectrum over its error": "Below about 5 nothing is told from noise.",
    "noise of the spectrum over the expected thermal noise": (
        "The median noise of channels against what telescope, time and bandwidth allow."
    ),
    "offset of line-free channels": "The base of the spectrum should be 0: continuum or a bowl moves it.",
    "scatter of line-free channels": "1 if the errors of the spectrum are right; more means ripples or artefacts.",
    "pixels of the moments": "Fewer pixels than a beam has are noise, not a source.",
    "flux of the outermost channels": "A whole line has none; more is one that is cut off, or no line at all.",
    "channels with data": "An image without any data is blank.",
    "converged channels": "Channels in which CLEAN reached its threshold, not a limit of iterations.",
    "largest residual over noise": "The brightest that CLEAN left; far above the noise it is a source or an artefact.",
    "residual rms over noise": "1 if the residual is noise alone; more means structure that was not cleaned.",
    "deepest negative over noise": "Deep holes come from calibration errors or missing short baselines.",
    "largest noise of a channel over the median": "One channel far above the others has interference or lost data.",
    "fitted beam": "No beam could be fitted to the point spread function.",
    "axis ratio of the beam": "A long beam means uneven uv coverage.",
    "noise over the expected thermal noise": "Noise against what telescope, time and bandwidth allow.",
    "beam over the expected beam": "Resolution against what the longest baselines allow.",
    "signal-to-noise ratio after self-calibration": "Below 1 self-calibration made the image worse, and was not kept.",
    "rms of the visibilities after the subtraction": "Above 1 the model does not fit the data.",
}


def explain_scores(scores: Iterable[QAScore]) -> list[tuple[str, str]]:
    """Return measure and meaning of the scores of a step, each measure once; measures of users explain themselves."""
    found: dict[str, str] = {}
    for score in scores:
        # The longest one that fits: "flagged fraction" before "flagged".
        names = [name for name in _MEANINGS if score.name.startswith(name)]
        if names:
            name = max(names, key=len)
            found[name if name != "flagged" else score.name] = _MEANINGS[name]
    return list(found.items())
