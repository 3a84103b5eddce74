"""A config is checked as a whole: every problem, with its line, what was found and what is allowed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from radps.errors import ConfigError
from radps.execution.clusters import InProcessCluster, LocalMachine, RunningScheduler
from radps.workflows.reading import load_workflow, parse_overrides

STAGE = "user_stages:squares"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def problems_of(config: Any, overrides: dict[str, Any] | None = None) -> tuple[str, ...]:
    """Return what is wrong with a config."""
    with pytest.raises(ConfigError) as error:
        load_workflow(config, overrides)
    return error.value.problems


# --- what is read ---


def test_short_and_long_forms_of_steps_mean_the_same(tmp_path: Path) -> None:
    config = write(
        tmp_path,
        """
run: here
cluster: none
steps:
  - user_stages:direct
  - user_stages:squares: {n: 4, cell: 15 arcsec}
  - id: again
    stage: user_stages:squares
    after: [direct]
    params: {n: 5}
  - user_stages:cycles:
""",
    )
    workflow = load_workflow(config)
    assert [(step.id, step.stage, step.after) for step in workflow.steps] == [
        ("direct", "user_stages:direct", ()),
        ("squares", "user_stages:squares", ("direct",)),
        ("again", "user_stages:squares", ("direct",)),
        ("cycles", "user_stages:cycles", ("again",)),
    ]
    assert workflow.step("squares").params.n == 4
    assert workflow.step("squares").params.cell == pytest.approx(7.2722e-5, rel=1e-4)
    assert workflow.run == str(Path("here").resolve())
    assert workflow.cluster == InProcessCluster()


def test_steps_are_sorted_so_that_each_stands_after_what_it_needs() -> None:
    steps = [
        {"id": "last", "stage": STAGE, "after": ["first", "middle"]},
        {"id": "middle", "stage": STAGE, "after": ["first"]},
        {"id": "first", "stage": STAGE, "after": []},
        {"id": "aside", "stage": STAGE, "after": []},
    ]
    workflow = load_workflow({"run": "x", "steps": steps})
    assert [step.id for step in workflow.steps] == ["first", "middle", "last", "aside"]
    assert [step.id for step in workflow.ancestors("last")] == ["first", "middle"]
    assert [step.id for step in workflow.descendants("first")] == ["middle", "last"]
    assert workflow.descendants("aside") == ()


def test_a_workflow_survives_the_way_through_plain_data(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_text("")
    config = {
        "run": str(tmp_path / "run"),
        "project": "P",
        "data": {"path": str(tmp_path / "a.fits"), "intents": {"a": "flux", "b": ["target"]}},
        "cluster": {"kind": "local", "workers": 2, "memory_limit": "1 GiB"},
        "steps": [{STAGE: {"cell": "1 arcmin"}}, {"id": "b", "stage": STAGE, "after": []}],
    }
    workflow = load_workflow(config)
    assert workflow.data.intents == {"a": ("flux",), "b": ("target",)}
    assert workflow.cluster == LocalMachine(workers=2, memory_limit=2.0**30)
    assert load_workflow(workflow.as_config()) == workflow


def test_the_default_cluster_is_this_machine() -> None:
    assert load_workflow({"run": "x", "steps": [STAGE]}).cluster == LocalMachine()
    running = load_workflow({"run": "x", "steps": [STAGE], "cluster": "tcp://host:8786"}).cluster
    assert running == RunningScheduler(address="tcp://host:8786")


def test_data_are_looked_for_beside_the_config_and_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, here = tmp_path / "configs", tmp_path / "here"
    beside.mkdir(), here.mkdir()
    (beside / "a.fits").write_text("")
    for name in ("a.fits", "b.fits"):
        (here / name).write_text("")
    monkeypatch.chdir(here)
    text = "run: x\nsteps: [user_stages:direct]\ndata: {path: [a.fits, b.fits]}\n"
    config = write(beside, text)
    assert load_workflow(config).data.path == (str(beside / "a.fits"), str(here / "b.fits"))
    # Who types a path means it from where they are.
    assert load_workflow(config, {"data.path": "a.fits"}).data.path == (str(here / "a.fits"),)


def test_stages_are_imported_from_the_folder_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_stages_1.py").write_text(
        "from radps import Outcome, StageParams\n"
        "class P(StageParams): pass\n"
        "def mine(context, params: P): return Outcome()\n"
    )
    workflow = load_workflow(write(tmp_path, "run: x\nsteps: [own_stages_1:mine]\n"))
    assert workflow.step("mine").stage == "own_stages_1:mine"


def test_urls_are_kept_as_they_are() -> None:
    config = {"run": "memory://a/run/", "data": {"path": "s3://bucket/data.ms"}, "steps": [STAGE]}
    workflow = load_workflow(config)
    assert workflow.run == "memory://a/run"
    assert workflow.data.path == ("s3://bucket/data.ms",)


# --- overrides ---


def test_overrides_change_what_the_config_says(tmp_path: Path) -> None:
    config = {"run": "x", "steps": [{STAGE: {"n": 4}}]}
    overrides = {"run": str(tmp_path), "project": "P", "cluster": "none", "squares.n": 7, "squares.cell": "1 rad"}
    workflow = load_workflow(config, overrides)
    assert (workflow.run, workflow.project, workflow.cluster) == (str(tmp_path), "P", InProcessCluster())
    assert workflow.step("squares").params.model_dump() == {"n": 7, "text": "", "cell": 1.0, "frequency": 1e9}
    assert config == {"run": "x", "steps": [{STAGE: {"n": 4}}]}


def test_options_are_parsed_as_yaml() -> None:
    texts = ["a.n=3", "b.list=[x, 2]", "data.path=/x=y.fits", "c.on= true"]
    assert parse_overrides(texts) == {"a.n": 3, "b.list": ["x", 2], "data.path": "/x=y.fits", "c.on": True}


def test_options_that_are_none_are_refused_together() -> None:
    with pytest.raises(ConfigError) as error:
        parse_overrides(["a.n", "=3", "b=[1", "c.n=2"])
    assert [problem.partition(":")[0] for problem in error.value.problems] == ["--set a.n", "--set =3", "--set b=[1"]
    assert "write --set STEP.parameter=value" in error.value.problems[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("squars.n", "there is no step 'squars'; did you mean 'squares'?; steps: squares; also: run, project"),
        ("squares", "'squares' is a step; write --set squares.PARAMETER=value"),
        ("data.paths", "data has the keys path, intents"),
        ("run.x", "'run' has no parts; write --set run=value"),
    ],
)
def test_an_override_of_nothing_is_refused(name: str, message: str) -> None:
    (problem,) = problems_of({"run": "x", "steps": [STAGE]}, {name: 1})
    assert problem.startswith(f"--set {name}=1: {message}")


def test_a_wrong_value_of_an_option_names_the_option(tmp_path: Path) -> None:
    config = write(tmp_path, "run: x\nsteps:\n  - user_stages:squares: {n: 2}\n")
    (problem,) = problems_of(config, {"squares.n": 0})
    assert problem.startswith("--set squares.n=0: n of step 'squares'")


# --- all problems at once ---

WRONG = """\
runn: here
project: 7
cluster: {kind: local, workers: 0, wokers: 2}
data:
  path: missing.fits
  intent: {a: flux}
steps:
  - user_stages:squares:
      n: 0
      cell: 15 GHz
      frequency: 1.4
      nn: 3
  - image_cub
  - id: cycles
    stage: user_stages:cycles
    after: [sqares]
  - id: cycles
    stage: user_stages:nothing_here
  - user_stages:direct: 5
  - {id: 1st, stage: user_stages:direct}
"""


def test_all_mistakes_of_a_config_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    config = write(tmp_path, WRONG)
    found = problems_of(config)
    expected = [
        (1, "a workflow has no key 'runn'; did you mean 'run'?; keys: data, run, project, cluster, dependencies, "),
        (1, "the workflow needs `run`: the folder (or URL) to write to; found nothing"),
        (2, "project has to be a text; found 7"),
        (3, "workers of the cluster: should be greater than or equal to 1 (found 0)"),
        (3, "the cluster has no 'wokers'; did you mean 'workers'?; it has: kind, workers, memory_limit"),
        (5, f"there is no file or folder 'missing.fits'; looked for {tmp_path / 'missing.fits'} and "),
        (6, "data has no key 'intent'; did you mean 'intents'?; keys: path, intents"),
        (9, "n of step 'squares' (stage user_stages:squares): should be greater than or equal to 1 (found 0)"),
        (10, "'15 GHz' is in GHz, which is not an angle; write it like '15 arcsec'"),
        (
            12,
            "step 'squares' (stage user_stages:squares) has no 'nn'; did you mean 'n'?; it has: n, text, cell",
        ),
        (13, "there is no stage 'image_cub'; did you mean 'image_cube'?; stages: "),
        (
            16,
            "step 'cycles' comes after 'sqares': there is no step 'sqares'; did you mean 'squares'?; steps: squares, ",
        ),
        (17, f"two steps have the id 'cycles' (the other one: {config}:14); give one of them another `id`"),
        (18, "module 'user_stages' has no function 'nothing_here'; functions: "),
        (19, "the parameters of step 'direct' have to be a mapping; found int 5"),
        (20, "the id '1st' is not allowed; use letters, digits, - and _, a letter first"),
    ]
    for line, text in expected:
        assert [problem for problem in found if problem.startswith(f"{config}:{line}:") and text in problem], text
    assert len(found) == len(expected)
    lines = [int(problem.removeprefix(f"{config}:").partition(":")[0]) for problem in found]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            "cell_size: 3 Jy",
            "cell_size of step 'image_cube': '3 Jy' is in Jy, which is not an angle; write it like '15 arcsec'; "
            "or it should be 'auto'",
        ),
        (
            "image_size: 63",
            "image_size of step 'image_cube': an image side has to be even and at least 32 pixels; use 64; "
            "or it should be 'auto' (found 63)",
        ),
        ("w_term: perhaps", "w_term of step 'image_cube': should be a valid boolean, unable to interpret input; or it"),
    ],
)
def test_a_value_that_may_be_of_two_kinds_is_one_problem(tmp_path: Path, parameters: str, message: str) -> None:
    (problem,) = problems_of(write(tmp_path, f"run: x\nsteps:\n  - image_cube: {{{parameters}}}\n"))
    assert problem.startswith(f"{tmp_path / 'config.yaml'}:3: {message}")


def test_the_message_counts_and_numbers_the_problems(tmp_path: Path) -> None:
    config = write(tmp_path, WRONG)
    with pytest.raises(ConfigError, match=rf"{config}: 16 problems\n  1\. .*:1: a workflow has no key 'runn'"):
        load_workflow(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            None,
            "a workflow is a mapping with the keys data, run, project, cluster, dependencies, defaults, faults, ",
        ),
        ("steps", "defaults, faults, steps; found str 'steps'"),
        ("run: x", "steps has to be a list with one step at least; found nothing"),
        ("run: x\nsteps: []", "steps has to be a list with one step at least; found list []"),
        ("run: x\nsteps: [7]", "a step is a name, `name: {parameters}`, or {id, stage, after, when, params, retries,"),
        ("run: x\nsteps:\n - flag:\n   n: 3", "a step with the keys flag, n has no `stage`; name it, or indent"),
        ("run: x\nsteps: [{id: a, stage: 3}]", "id and stage of a step are names; found id 'a', stage 3"),
        ("run: x\nsteps: [{id: flag, stag: flag}]", "a step has no key 'stag'; did you mean 'stage'?"),
        ("run: x\nsteps: [{stage: flag, after: {a: 1}}]", "`after` of step 'flag' has to be a list of step ids"),
        ("run: x\nsteps: [{id: run, stage: flag}]", "a step cannot have the id 'run', which is a key of the workflow"),
        (
            "run: x\nsteps: [flag]\ncluster: moon",
            "'moon' is not a cluster; write none, local, the address of a scheduler",
        ),
        ("run: x\nsteps: [flag]\ncluster: {kind: moon}", "is not a cluster; write none, local,"),
        ("run: x\nsteps: [flag]\ncluster: {workers: 2}", "or a mapping with kind: none | local | kubernetes | address"),
        ("run: x\nsteps: [flag]\ncluster: tcp:// ", "address of the cluster: String should match pattern"),
        (
            "run: x\nsteps: [flag]\ncluster: {kind: address, address: host}",
            "address of the cluster: String should match",
        ),
        ("run: x\nsteps: [flag]\ndata: here", "data has to be a mapping with the keys path, intents; found str 'here'"),
        ("run: x\nsteps: [flag]\ndata: {path: 3}", "data.path is a path or a list of paths; found 3"),
        ("run: x\nsteps: [flag]\ndata: {path: }", "data.path is empty; give a file, a folder or a URL"),
        ('run: x\nsteps: [flag]\ndata: {path: ""}', "data.path is empty; give a file, a folder or a URL"),
        ("run: x\nsteps: [flag]\ndata: {intents: a}", "data.intents is a mapping field: [intent, ...]; found str 'a'"),
        ("run: x\nsteps: [flag]\ndata: {intents: {a: 3}}", "the intents of field 'a' are a list of words; found 3"),
        (
            "run: x\nsteps: [flag]\ndependencies: {a: 1}",
            "dependencies is a list of names of installed packages; found {",
        ),
        (
            "run: x\nsteps: [flag]\ndependencies: [numpy, no-such-pkg]",
            "the package 'no-such-pkg' is not installed here; pip install no-such-pkg, or correct the name",
        ),
        ("run: [1\nsteps: [flag]", "no valid YAML"),
    ],
)
def test_each_mistake_has_a_message(tmp_path: Path, config: str | None, message: str) -> None:
    (problem,) = problems_of(write(tmp_path, config or ""))
    assert message in problem
    assert problem.startswith(f"{tmp_path / 'config.yaml'}")


def test_steps_that_wait_for_each_other_are_named(tmp_path: Path) -> None:
    text = """\
run: x
steps:
  - {id: a, stage: user_stages:direct, after: [c]}
  - {id: b, stage: user_stages:direct, after: [a]}
  - {id: c, stage: user_stages:direct, after: [b]}
  - {id: d, stage: user_stages:direct, after: []}
"""
    (problem,) = problems_of(write(tmp_path, text))
    assert problem == (
        f"{tmp_path / 'config.yaml'}:3: steps wait for each other: a after c after b after a; remove one `after`"
    )


def test_a_step_that_waits_for_itself_is_named() -> None:
    (problem,) = problems_of({"run": "x", "steps": [{"id": "a", "stage": STAGE, "after": "a"}]})
    assert "steps wait for each other: a after a" in problem


def test_a_number_that_is_too_large_is_one_problem_under_the_name_of_its_parameter() -> None:
    (problem,) = problems_of({"run": "x", "steps": [{"image_cube": {"robust": 5}}]})
    assert problem.startswith("<dict>: robust of step 'image_cube': should be less than or equal to 2")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path / "no.yaml")
    assert problem == "there is no such file; give the path of a workflow file (YAML)"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00run")
    (problem,) = problems_of(path)
    assert problem.startswith("cannot be read as text: ")


# --- stages of a user ---


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("user_stages:squars", "module 'user_stages' has no function 'squars'; did you mean 'squares'?; functions: "),
        ("user_stages:three_arguments", r"a stage takes two arguments, (context, params: Params); this one takes 3"),
        ("user_stages:no_annotation", "needs an annotation that is a subclass of radps.StageParams"),
        ("no_such_module:stage", "cannot import module 'no_such_module': ModuleNotFoundError: No module named"),
    ],
)
def test_a_stage_that_cannot_be_used_is_described(stage: str, message: str) -> None:
    (problem,) = problems_of({"run": "x", "steps": [stage]})
    assert message in problem


def test_a_mistake_in_a_users_module_is_one_of_the_problems_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_stage.py").write_text("import math\n1 / 0\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    config = write(tmp_path, "run: x\nproject: 7\nsteps:\n  - broken_stage:stage\n  - no_such_module:other\n")
    project, broken, missing = problems_of(config)
    assert "project has to be a text" in project
    assert broken.startswith(f"{config}:4: cannot import module 'broken_stage': ZeroDivisionError: division by zero\n")
    assert broken.endswith(f"{tmp_path / 'broken_stage.py'}:2: 1 / 0")
    assert "your module 'no_such_module' is not found: looked in " in missing
    assert str(tmp_path) in missing.partition("looked in")[2]


def test_dependencies_are_kept() -> None:
    workflow = load_workflow({"run": "x", "steps": [STAGE], "dependencies": ["numpy", "zarr", "numpy"]})
    assert workflow.dependencies == ("numpy", "zarr")
    assert load_workflow(workflow.as_config()).dependencies == ("numpy", "zarr")
    assert load_workflow({"run": "x", "steps": [STAGE], "dependencies": "numpy"}).dependencies == ("numpy",)


# --- data of the package casadata ---


def test_data_of_casadata_are_found_or_the_way_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"run": "x", "steps": [STAGE], "data": {"path": "casadata:demo/a.fits"}}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (problem,) = problems_of(config)
    assert "pip install 'radps[casadata]', or give your own copy: --set data.path=FILE" in problem
    monkeypatch.undo()
    (tmp_path / "casadata/__data__/demo").mkdir(parents=True)
    (tmp_path / "casadata/__init__.py").write_text("")
    (tmp_path / "casadata/__data__/demo/a.fits").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_workflow(config).data.path == (str(tmp_path / "casadata/__data__/demo/a.fits"),)
    (problem,) = problems_of({**config, "data": {"path": "casadata:b.fits"}})
    assert "the installed package casadata has no file 'b.fits'" in problem


def test_a_kept_workflow_finds_the_stages_beside_its_config_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_a_config.py").write_text(
        "from radps import Outcome, StageParams\n\n\nclass Params(StageParams):\n    pass\n\n\n"
        "def find_me(context, params: Params):\n    return Outcome()\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text("run: runs/x\ncluster: none\nsteps: ['beside_a_config:find_me']\n")
    kept = load_workflow(config).as_config()
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    monkeypatch.delitem(sys.modules, "beside_a_config")
    monkeypatch.chdir("/")
    assert [step.id for step in load_workflow(kept).steps] == ["find_me"]
