"""Telescopes that radps knows more of than the data say."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from radps.context.telescopes import (
    AlmaExtension,
    MeerkatExtension,
    TelescopeExtension,
    VlaExtension,
    describe_telescope,
)


def describe(telescope: str, **changes: object) -> VlaExtension | AlmaExtension | MeerkatExtension | None:
    values: dict[str, object] = {
        "antennas": ["DA41", "CM01"],
        "diameters_m": [12.0, 7.0],
        "longest_baseline_m": 1031.2,
        "middles_hz": {"spw0": 1.42e9, "spw1": 345e9},
    }
    return describe_telescope(telescope, **{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["VLA", "EVLA", "evla"])
def test_the_vla_has_a_configuration_and_letters(name: str) -> None:
    found = describe(name)
    assert found == VlaExtension(configuration="D", bands={"spw0": "L", "spw1": None})
    assert found.describe() == "VLA, configuration D, band L"
    assert found.nominal_sefd_jy("spw0") == pytest.approx(5.62 * 35 / 0.55)
    assert found.nominal_sefd_jy("spw1") is None
    assert "configuration unknown" in str(describe(name, longest_baseline_m=1e6).describe())  # type: ignore[union-attr]


def test_alma_has_arrays_and_numbers() -> None:
    found = describe("ALMA")
    assert found == AlmaExtension(arrays=("12m", "7m"), bands={"spw0": None, "spw1": 7})
    assert found.describe() == "ALMA, array 12m, 7m, band 7"
    assert found.nominal_sefd_jy("spw1") is None


def test_the_receivers_of_alma_are_as_the_data_name_them() -> None:
    found = describe("ALMA", labels={"spw0": "ALMA_RB_06#BB_1#SW-01#FULL_RES_17", "spw1": "spw1"})
    assert isinstance(found, AlmaExtension)
    assert found.receivers == {"spw0": "ALMA_RB_06", "spw1": None}


@pytest.mark.parametrize(
    ("middle_hz", "band", "sefd_jy"),
    [(816e6, "UHF", None), (1284e6, "L", 425.0), (950e6, "L", 425.0), (2.4e9, "S", None), (10e9, None, None)],
)
def test_meerkat_has_bands(middle_hz: float, band: str | None, sefd_jy: float | None) -> None:
    found = describe("MeerKAT", middles_hz={"spw0": middle_hz})
    assert isinstance(found, MeerkatExtension)
    assert found.bands == {"spw0": band}
    assert found.describe() == f"MeerKAT, band {band or 'unknown'}"
    assert found.nominal_sefd_jy("spw0") == sefd_jy
    assert found.nominal_sefd_jy("spw1") is None


def test_other_telescopes_have_none() -> None:
    assert describe("GBT") is None
    assert describe("") is None


def test_the_models_are_told_apart_by_their_telescope() -> None:
    adapter: TypeAdapter[VlaExtension | AlmaExtension | MeerkatExtension] = TypeAdapter(TelescopeExtension)
    for one in (describe("VLA"), describe("ALMA"), describe("MeerKAT")):
        assert one is not None
        assert adapter.validate_json(one.model_dump_json()) == one
    with pytest.raises(ValidationError, match="'VLA', 'ALMA'"):
        adapter.validate_python({"telescope": "GBT", "bands": {}})
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        AlmaExtension(arrays=("12m",), bands={"spw0": 11})
