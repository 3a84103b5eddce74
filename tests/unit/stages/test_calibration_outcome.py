"""What calibration says of what it found."""

from __future__ import annotations

from radps.context.records import FluxDensityRecord, Outcome
from radps.stages._calibration_outcome import join_outcomes


def flux(window: str, frequency_hz: float, error_jy: float) -> FluxDensityRecord:
    """Return a flux density of 2.5 Jy."""
    return FluxDensityRecord(
        field="J1445+0958", window=window, flux_jy=2.5, error_jy=error_jy, frequency_hz=frequency_hz, origin="test"
    )


def test_an_error_that_is_not_known_is_not_given_as_zero() -> None:
    known, unknown = flux("spw0", 1.4e9, 0.02), flux("spw1", 1.7e9, 0.0)
    message = join_outcomes([Outcome(flux_densities=(known, unknown))], 1, ()).message
    assert "J1445+0958 in spw0: 2.5000 +- 0.0200 Jy; J1445+0958 in spw1: 2.5000 (error unknown) Jy" in message
    assert "spectral index 0.000 (error unknown)" in message
