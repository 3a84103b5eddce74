"""The published schemas are current, and accept what radps reads and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from radps.run_folder.store import RunStore
from radps.workflows import reading
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.schema import SCHEMAS, format_schema

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_current(name: str) -> None:
    published = (ROOT / "docs/schema" / f"{name}.json").read_text(encoding="utf-8")
    assert published == format_schema(name), "run `radps-run schema --output docs/schema`"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(format_schema(name)))


@pytest.fixture(scope="module")
def config_schema() -> dict[str, Any]:
    return json.loads(format_schema("workflow"))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_configs_are_valid(path: Path, config_schema: dict[str, Any]) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), config_schema)


@pytest.mark.parametrize(
    "config",
    [
        {"run": "x", "steps": ["flag", {"flag": None}, "my.module:stage", {"my.module:stage": {"n": 3}}]},
        {"run": "x", "steps": [{"id": "a", "stage": "image_cube", "after": [], "params": {"cell_size": "2 arcsec"}}]},
        {"run": "x", "steps": ["flag"], "cluster": {"kind": "local", "memory_limit": "2 GiB"}},
        {
            "run": "x",
            "steps": ["flag"],
            "cluster": "tcp://host:8786",
            "data": {"path": ["a"], "intents": {"f": "flux"}},
        },
        {
            "run": "x",
            "defaults": {"retries": 2, "retry_delay": "5 s"},
            "faults": {"rate": 0.3, "seed": 7, "tasks": "clean_*", "kind": "slow", "delay": 1.5},
            "steps": [
                "flag",
                {
                    "id": "cube",
                    "stage": "image_cube",
                    "after": ["flag"],
                    "when": "always",
                    "retries": 3,
                    "retry_delay": "1 min",
                    "timeout": "2 h",
                    "task_timeout": "30 min",
                    "priority": 10,
                    "resources": {"GPU": 1},
                },
            ],
        },
        {"run": "x", "defaults": None, "faults": None, "steps": ["flag"]},
    ],
)
def test_every_form_of_a_config_is_accepted(config: dict[str, Any], config_schema: dict[str, Any]) -> None:
    jsonschema.validate(config, config_schema)


def test_the_schema_has_every_key_that_a_config_may_have(config_schema: dict[str, Any]) -> None:
    long_step = config_schema["properties"]["steps"]["items"]["anyOf"][2]
    assert set(config_schema["properties"]) == set(reading._TOP)
    assert set(long_step["properties"]) == set(reading._STEP)


@pytest.mark.parametrize(
    "config",
    [
        {"steps": ["flag"]},
        {"run": "x", "steps": []},
        {"run": "x", "steps": ["flog"]},
        {"run": "x", "steps": [{"image_cube": {"cell": 3}}]},
        {"run": "x", "steps": [{"id": "a", "stage": "image_cube", "params": {"gain": 7}}]},
        {"run": "x", "steps": ["flag"], "cluster": {"kind": "local", "worker": 2}},
        {"run": "x", "steps": ["flag"], "more": 1},
        {"run": "x", "steps": [{"id": "flag", "when": "never"}]},
        {"run": "x", "steps": [{"id": "flag", "retries": -1}]},
        {"run": "x", "steps": ["flag"], "defaults": {"retry": 2}},
        {"run": "x", "steps": ["flag"], "faults": {"seed": 7}},
    ],
)
def test_a_wrong_config_is_refused(config: dict[str, Any], config_schema: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, config_schema)


def test_a_context_is_valid_by_its_schema(tmp_path: Path) -> None:
    run_workflow(load_workflow({"run": str(tmp_path), "cluster": "none", "steps": ["user_stages:squares"]}))
    document = json.loads((tmp_path / "context.json").read_text())
    jsonschema.validate(document, json.loads(format_schema("context")))
    history = json.loads((tmp_path / "history" / RunStore(str(tmp_path)).history()[0]).read_text())
    jsonschema.validate(history, json.loads(format_schema("context")))
