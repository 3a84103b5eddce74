"""How steps are run, as the config says it: retries, pauses, limits, priority, resources, simulated failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from radps.errors import ConfigError
from radps.execution.clusters import LocalMachine
from radps.node_tasks.faults import FaultKind, Faults
from radps.workflows.model import Workflow
from radps.workflows.policy import StepPolicy, When
from radps.workflows.reading import load_workflow, parse_overrides

STAGE = "user_stages:squares"

CONFIG = """\
run: here
defaults: {retries: 2, retry_delay: 1 min}
faults: {rate: 0.1, seed: 7, tasks: "square*", kind: slow, delay: 2 s}
steps:
  - user_stages:squares
  - id: again
    stage: user_stages:squares
    when: always
    retries: 0
    timeout: 2 min
    task_timeout: 30 s
    priority: -3
    resources: {GPU: 1}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def load(folder: Path, text: str, *options: str) -> Workflow:
    return load_workflow(write(folder, text), parse_overrides(list(options)))


def problem_of(folder: Path, text: str, *options: str) -> str:
    """Return the only problem of a config."""
    with pytest.raises(ConfigError) as error:
        load(folder, text, *options)
    (problem,) = error.value.problems
    return problem


# --- what is read ---


def test_a_step_that_says_nothing_has_the_defaults_of_the_workflow(tmp_path: Path) -> None:
    workflow = load(tmp_path, CONFIG)
    assert workflow.step("squares").policy == StepPolicy(retries=2, retry_delay=60.0)
    assert workflow.step("squares").when is When.SUCCESS
    assert workflow.step("again").when is When.ALWAYS
    assert workflow.step("again").policy == StepPolicy(
        retries=0, retry_delay=60.0, timeout=120.0, task_timeout=30.0, priority=-3, resources={"GPU": 1.0}
    )
    assert workflow.faults == Faults(rate=0.1, seed=7, tasks="square*", kind=FaultKind.SLOW, delay=2.0)


def test_without_defaults_nothing_is_repeated_and_nothing_has_a_limit() -> None:
    (step,) = load_workflow({"run": "x", "steps": [STAGE]}).steps
    assert step.policy == StepPolicy()
    assert (step.policy.retries, step.policy.timeout, step.policy.task_timeout) == (0, None, None)


def test_it_survives_the_way_through_plain_data(tmp_path: Path) -> None:
    workflow = load(tmp_path, CONFIG)
    again = load_workflow(workflow.as_config())
    assert again == workflow.model_copy(update={"source": again.source})


def test_options_change_single_values_and_whole_parts(tmp_path: Path) -> None:
    workflow = load(tmp_path, CONFIG, "faults.rate=0.3", "defaults={retries: 5}")
    assert workflow.faults == Faults(rate=0.3, seed=7, tasks="square*", kind=FaultKind.SLOW, delay=2.0)
    assert workflow.step("squares").policy == StepPolicy(retries=5)
    assert workflow.step("again").policy.retries == 0
    workflow = load(tmp_path, CONFIG, "defaults.timeout=5 s", "faults={rate: 1}")
    assert workflow.step("squares").policy == StepPolicy(retries=2, retry_delay=60.0, timeout=5.0)
    assert workflow.faults == Faults(rate=1.0)


def test_an_option_makes_a_part_that_the_config_has_not(tmp_path: Path) -> None:
    plain = "run: x\nsteps: [user_stages:squares]\n"
    workflow = load(tmp_path, plain, "faults.rate=0.3", "faults.seed=4", "defaults.retries=1")
    assert workflow.faults == Faults(rate=0.3, seed=4)
    assert workflow.step("squares").policy == StepPolicy(retries=1)


def test_the_policy_of_a_step_is_no_reason_to_do_it_again(tmp_path: Path) -> None:
    workflow = load(tmp_path, CONFIG)
    assert workflow.step("squares").params == workflow.step("again").params


# --- what is refused ---


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("defaults: {retries: -1}", "retries of the workflow's defaults: should be greater than or equal to 0 (found"),
        ("defaults: {retry: 1}", "the workflow's defaults has no 'retry'; did you mean 'retries'?; it has: retries, "),
        ("defaults: 3", "the workflow's defaults have to be a mapping; found int 3"),
        ("defaults: {when: always}", "the workflow's defaults has no 'when'"),
        ("faults: {seed: 3}", "the simulated faults needs 'rate'"),
        ("faults: {rate: 1.5}", "rate of the simulated faults: should be less than or equal to 1 (found 1.5)"),
        ("faults: {rate: .nan}", "rate of the simulated faults: should be less than or equal to 1 (found nan)"),
        ("faults: {rate: 1, kind: fire}", "should be 'exception', 'worker-death' or 'slow' (found 'fire')"),
        ("faults: {rate: 1, delay: 0 s}", "delay of the simulated faults: should be greater than 0 (found 0.0)"),
        ("faults: 0.3", "the simulated faults have to be a mapping; found float 0.3"),
        ("cluster: {kind: local, resources: {GPU: 0}}", "resources.GPU of the cluster: should be greater than 0"),
    ],
)
def test_a_mistake_in_a_part_of_the_workflow_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    problem = problem_of(tmp_path, f"run: x\n{line}\nsteps: [user_stages:squares]\n")
    assert problem.startswith(f"{tmp_path / 'config.yaml'}:2: ")
    assert message in problem


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("retries: 1.5", "retries of step 'a': should be a valid integer, got a number with a fractional part"),
        ("retries: -1", "retries of step 'a': should be greater than or equal to 0 (found -1)"),
        ("retry_delay: 5 m", "'5 m' is in m, which is not a duration; write it like '5 s'"),
        ("retry_delay: -1 s", "retry_delay of step 'a': should be greater than or equal to 0 (found -1.0)"),
        ("timeout: 0 s", "timeout of step 'a': should be greater than 0 (found '0 s')"),
        ("task_timeout: -1", "task_timeout of step 'a': should be greater than 0 (found -1)"),
        ("priority: high", "priority of step 'a': should be a valid integer"),
        ("resources: GPU", "resources of step 'a': should be a valid dictionary (found 'GPU')"),
        ("resources: {GPU: 0}", "resources.GPU of step 'a': should be greater than 0"),
        ("resources: {GPU: .inf}", "resources.GPU of step 'a': should be a finite number (found inf)"),
        ("when: sucess", "`when` of step 'a' should be 'success' or 'failure' or 'always' (found 'sucess'); did you "),
        ("when: [always]", "`when` of step 'a' should be 'success' or 'failure' or 'always' (found ['always'])"),
        ("retry: 3", "a step has no key 'retry'; did you mean 'retries'?; keys: id, stage, after, when, params, "),
    ],
)
def test_a_mistake_in_a_step_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    problem = problem_of(tmp_path, f"run: x\nsteps:\n  - id: a\n    stage: user_stages:squares\n    {line}\n")
    assert problem.startswith(f"{tmp_path / 'config.yaml'}:5: ")
    assert message in problem


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("faults.rate=3", "rate of the simulated faults: should be less than or equal to 1 (found 3)"),
        ("faults={rate: 3}", "rate of the simulated faults: should be less than or equal to 1 (found 3)"),
        ("defaults.retries=-1", "retries of the workflow's defaults: should be greater than or equal to 0 (found -1)"),
        ("defaults={retries: -1}", "retries of the workflow's defaults: should be greater than or equal to 0"),
        ("defaults.retry=1", "the workflow's defaults has no 'retry'; did you mean 'retries'?"),
    ],
)
def test_a_mistake_in_an_option_names_the_option(tmp_path: Path, option: str, message: str) -> None:
    name = option.partition("=")[0]
    problem = problem_of(tmp_path, CONFIG, option)
    assert problem.startswith(f"--set {name}=")
    assert message in problem


def test_an_unknown_option_lists_faults_and_defaults(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, CONFIG, "fault.rate=0.3")
    assert problem.startswith(
        "--set fault.rate=0.3: there is no step 'fault'; did you mean 'faults'?; steps: squares, "
    )
    assert problem.endswith("also: run, project, cluster, data.path, faults, defaults")


def test_all_mistakes_of_a_step_are_found_at_once() -> None:
    step: dict[str, Any] = {"id": "a", "stage": STAGE, "when": "x", "retries": -1, "timeout": 0, "params": {"n": 0}}
    with pytest.raises(ConfigError) as error:
        load_workflow({"run": "x", "steps": [step]})
    assert len(error.value.problems) == 4


def test_resources_of_the_workers_of_this_machine_are_read() -> None:
    config = {"run": "x", "cluster": {"kind": "local", "workers": 1, "resources": {"GPU": 2}}, "steps": [STAGE]}
    assert load_workflow(config).cluster == LocalMachine(workers=1, resources={"GPU": 2.0})
