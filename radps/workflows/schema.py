"""The JSON Schemas of what radps reads and writes, made from the models.

``workflow``   a config: for editors that complete and check YAML.
``context``    ``context.json`` and the entries of ``history/`` of a run folder.
``runs``       what ``radps-run list --json`` prints.
``status``     what ``radps-run status --json`` prints.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from radps.context.model import Context
from radps.execution.clusters import ClusterConfig
from radps.node_tasks.faults import Faults
from radps.stages.base import find_stage, stage_names
from radps.workflows.policy import StepPolicy, When
from radps.workflows.runs import RunList
from radps.workflows.status import Status

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_OWN_STAGE = {"type": "string", "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", "description": "a stage of your own"}


def format_schema(name: str) -> str:
    """Return the text of a schema as it is published.

    Parameters
    ----------
    name : {"context", "runs", "status", "workflow"}
        Which one.
    """
    schema = SCHEMAS[name]()
    # Pydantic tells the stages' models apart by their modules; the name of the stage says the same.
    return re.sub(r"radps__stages__(\w+?)__Params", r"\1", json.dumps(schema, indent=1, sort_keys=True)) + "\n"


def _of_model(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of what a model writes."""
    return {"$schema": _DIALECT, **model.model_json_schema(mode="serialization")}


def _workflow() -> dict[str, Any]:
    """Return the schema of a config: its short forms, and the parameters of all stages."""
    models = {name: find_stage(name).params_model for name in stage_names()}
    reference = "#/$defs/{model}"
    keys, definitions = models_json_schema([(model, "validation") for model in models.values()], ref_template=reference)
    params = {name: keys[model, "validation"] for name, model in models.items()}
    cluster = TypeAdapter(ClusterConfig).json_schema(ref_template=reference)
    policy = StepPolicy.model_json_schema(ref_template=reference)
    faults = Faults.model_json_schema(ref_template=reference)
    named = {name: {"anyOf": [{"type": "null"}, schema]} for name, schema in params.items()}
    short = {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": named}
    short["patternProperties"] = {_OWN_STAGE["pattern"]: {"type": ["object", "null"]}}
    short["additionalProperties"] = False
    return {
        "$schema": _DIALECT,
        "title": "Workflow",
        "description": "A workflow of radps: which data, where to, which steps.",
        "type": "object",
        "additionalProperties": False,
        "required": ["run", "steps"],
        "properties": {
            "data": _data(),
            "run": {"type": "string", "description": "Run folder: a path, or the URL of a prefix in an object store."},
            "project": {"type": "string"},
            "cluster": {
                "description": "Where to compute.",
                "anyOf": [{"type": "null"}, {"enum": ["none", "local"]}, _address(), _without_definitions(cluster)],
            },
            "dependencies": {
                **_TEXTS,
                "description": "Installed packages whose versions count; see docs/user-stages.md.",
            },
            "defaults": _optional(policy),
            "faults": _optional(faults),
            "steps": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [_stage(), short, _long_step(params, policy["properties"])]},
            },
        },
        "$defs": {**definitions.get("$defs", {}), **cluster.get("$defs", {}), **faults.get("$defs", {})},
    }


def _long_step(params: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a step in its long form: the parameters depend on the stage; how it is run does not."""
    branches = [
        {
            "if": {"properties": {"stage": {"const": name}}, "required": ["stage"]},
            "then": {"properties": {"params": {"anyOf": [{"type": "null"}, schema]}}},
        }
        for name, schema in params.items()
    ]
    return {
        "type": "object",
        "anyOf": [{"required": ["stage"]}, {"required": ["id"]}],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]*$"},
            "stage": _stage(),
            "after": {**_TEXTS, "description": "Steps that have to be done before; default: the one above."},
            "when": {
                "enum": [str(when) for when in When],
                "description": "Run if they succeeded, if one failed, or always.",
            },
            **policy,
            "params": {"type": ["object", "null"]},
        },
        "allOf": branches,
    }


def _stage() -> dict[str, Any]:
    return {"anyOf": [{"enum": list(stage_names())}, _OWN_STAGE]}


def _data() -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "path": {**_TEXTS, "description": "Data sets: UVFITS, MSv2, MSv4; paths, URLs, or casadata:FILE."},
            "intents": {
                "type": "object",
                "description": "Field -> intents, where the data have none or wrong ones.",
                "additionalProperties": _TEXTS,
            },
        },
    }


def _address() -> dict[str, Any]:
    return {"type": "string", "pattern": r"^(tcp|tls|ucx|wss?)://\S+$", "description": "a scheduler"}


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a part of a config that may be left empty."""
    return {"anyOf": [{"type": "null"}, _without_definitions(schema)]}


def _without_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$defs"}


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "context": functools.partial(_of_model, Context),
    "runs": functools.partial(_of_model, RunList),
    "status": functools.partial(_of_model, Status),
    "workflow": _workflow,
}
"""Name -> function that makes the schema."""
