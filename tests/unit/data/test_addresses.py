from __future__ import annotations

import pytest
from pydantic import ValidationError

from radps.data.addresses import VisibilityAddress


def test_address_of_a_partition_names_its_own_variables() -> None:
    address = VisibilityAddress.of_measurement_set("memory://run/a.ps.zarr/field_0")
    assert address.visibility == "memory://run/a.ps.zarr/field_0/VISIBILITY"
    assert address.uvw.endswith("/UVW")
    newer = address.model_copy(update={"flag": "memory://run/flags-2.zarr/field_0/FLAG"})
    assert newer.store == address.store
    assert VisibilityAddress.model_validate_json(newer.model_dump_json()) == newer


def test_address_is_frozen_and_takes_no_other_fields() -> None:
    address = VisibilityAddress.of_measurement_set("a")
    with pytest.raises(ValidationError, match="frozen"):
        address.flag = "b"
    with pytest.raises(ValidationError, match="model"):
        VisibilityAddress(store="a", visibility="b", flag="c", weight="d", uvw="e", model="f")
