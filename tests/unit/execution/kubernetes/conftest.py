"""What Kubernetes and Dask's operator take: every object that is made or shipped is checked against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any

import jsonschema
import pytest
import yaml

PLAIN: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": float, "datetime": str, "object": object}
"""Types of fields that are no models."""


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """Return the operator's schema of one of its objects, from the wheel of dask-kubernetes."""
    folder = resources.files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # thousands of lines
    definition = yaml.load((folder / f"{kind.lower()}.yaml").read_text(), Loader=loader)
    (version,) = definition["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"])


def unknown_fields(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """Yield the fields that Kubernetes would drop without a word."""
    if isinstance(value, list):
        for item in value:
            yield from unknown_fields(schema.get("items", {}), item, f"{path}[]")
    elif isinstance(value, dict) and "properties" in schema:
        for key, item in value.items():
            if key not in schema["properties"]:
                yield f"{path}.{key}"
            else:
                yield from unknown_fields(schema["properties"][key], item, f"{path}.{key}")


def as_model(kind: str, value: Any, path: str) -> Any:
    """Return a value as Kubernetes' own client has it, which refuses what is missing; the rest is refused here."""
    from kubernetes_asyncio import client  # half a second, for the tests that need it

    if kind.startswith("list["):
        assert isinstance(value, list), path
        return [as_model(kind[5:-1], item, f"{path}[{number}]") for number, item in enumerate(value)]
    if kind.startswith("dict"):
        assert isinstance(value, dict), path
        return {key: as_model(kind[5:-1].partition(", ")[2], item, f"{path}.{key}") for key, item in value.items()}
    if kind in PLAIN:
        assert isinstance(value, PLAIN[kind]), f"{path} is {value!r}, not of type {kind}"
        return value
    model = getattr(client, kind)
    assert isinstance(value, dict), path
    names = {key: name for name, key in model.attribute_map.items()}
    unknown = sorted(set(value) - set(names))
    assert not unknown, f"{path} has no {', '.join(unknown)}"
    fields = {names[key]: (model.openapi_types[names[key]], item, f"{path}.{key}") for key, item in value.items()}
    return model(**{name: as_model(*field) for name, field in fields.items()})


def check(made: dict[str, Any]) -> None:
    """Check an object: one of Dask by the operator's schema, another one by the models of Kubernetes' own client."""
    group, _, version = made["apiVersion"].rpartition("/")
    if group == "kubernetes.dask.org":
        schema = schema_of(made["kind"])
        jsonschema.Draft202012Validator(schema).validate(made)
        content = {key: value for key, value in made.items() if key not in ("apiVersion", "kind", "metadata")}
        assert list(unknown_fields(schema, content)) == []
    else:
        as_model(f"{version.capitalize()}{made['kind']}", made, made["kind"])


@pytest.fixture
def check_object() -> Callable[[dict[str, Any]], None]:
    """Check an object against the schema of its kind."""
    pytest.importorskip("dask_kubernetes", reason="the schemas come with radps[kubernetes]")
    return check
