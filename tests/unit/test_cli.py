"""The command line: what it prints, what it leaves behind, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

import radps
from radps.run_folder.store import RunStore
from radps.stages.base import stage_names
from radps.workflows.schema import SCHEMAS, format_schema

HELPERS = Path(__file__).parents[1] / "helpers"

CONFIG = """\
run: {run}
cluster: none
steps:
  - user_stages:squares
  - user_stages:direct: {{text: all is well}}
"""

BRANCHES = """\
run: {run}
cluster: none
steps:
  - {{id: bad, stage: user_stages:fails, params: {{text: no sky}}}}
  - user_stages:direct
  - {{id: aside, stage: user_stages:squares, after: []}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder that is not there yet."""
    return tmp_path / "run"


def write(tmp_path: Path, text: str = CONFIG) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text.format(run=tmp_path / "run"))
    return path


# --- running ---


def test_a_misspelt_command_is_told_from_a_config(call, tmp_path: Path) -> None:
    result = call("chekc", write(tmp_path))
    assert result.code == 2
    assert "there is no command and no file 'chekc'; did you mean 'check'?; commands: run, check" in result.errors


def test_a_config_alone_is_run(call, tmp_path: Path, folder: Path) -> None:
    result = call(write(tmp_path))
    assert result.code == 0
    assert result.errors == ""
    lines = result.output.splitlines()
    assert lines[:2] == ["Computing: in this process", "squares: started (attempt 1)"]
    assert re.match(r"squares: done in \d+\.\d s \(5 tasks\)", lines[2])
    table = lines[lines.index(next(line for line in lines if line.startswith("step "))) :]
    assert table[0].split() == ["step", "state", "seconds", "tasks", "message"]
    assert re.match(r"squares\s+done\s+\d+\.\d\s+5\s+sum 5", table[1])
    assert re.match(r"direct\s+done\s+\d+\.\d\s+all is well", table[2])
    assert lines[-1] == f"Run folder: {folder}"


def test_a_second_call_has_nothing_to_do(call, tmp_path: Path) -> None:
    config = write(tmp_path)
    call(config)
    result = call("run", config)
    assert result.code == 0
    assert "squares: done before, unchanged\ndirect: done before, unchanged\nNothing to do\n" in result.output


def test_options_change_the_config(call, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    result = call(
        "--cluster", "none", write(tmp_path), "--run", elsewhere, "--set", "squares.n=4", "--until", "squares"
    )
    assert result.code == 0
    assert "sum 14" in result.output
    assert not (tmp_path / "run").exists()
    assert RunStore(str(elsewhere)).load().steps["direct"].state == "pending"


def test_a_step_is_done_again_when_asked_for(call, tmp_path: Path, folder: Path) -> None:
    config = write(tmp_path)
    call(config)
    result = call(config, "--redo", "direct", "--only", "direct")
    assert "direct: again: asked for by --redo" in result.output
    assert [record.attempt for record in RunStore(str(folder)).load().steps.values()] == [1, 2]


def test_a_failed_step_gives_code_1_its_message_once_and_no_traceback(call, tmp_path: Path) -> None:
    result = call(write(tmp_path, BRANCHES))
    assert result.code == 1
    message, place = result.errors.splitlines()
    assert message == "Error: step 'bad' (stage user_stages:fails) failed: ValueError: no sky"
    assert "Traceback" not in result.output + result.errors
    log = Path(place.removeprefix("The whole traceback: ")).read_text()
    assert "Traceback" in log
    assert "ValueError: no sky" in log
    assert re.search(r"bad\s+failed\s+\d+\.\d\s+ValueError: no sky", result.output)
    assert re.search(r"direct\s+blocked\s+needs bad \(failed\)", result.output)
    assert re.search(r"aside\s+done", result.output)


def test_a_mistake_that_a_stage_names_needs_no_traceback(call, tmp_path: Path) -> None:
    result = call(write(tmp_path, "run: {run}\ncluster: none\nsteps: [set_model]\n"))
    assert result.code == 1
    assert result.errors.startswith("Error: step 'set_model'")
    assert "traceback" not in result.errors.lower()


def test_a_dry_run_says_what_and_why_and_does_nothing(call, tmp_path: Path, folder: Path) -> None:
    config = write(tmp_path)
    assert call(config, "--dry-run").code == 0
    assert not folder.exists()
    call(config)
    result = call(config, "--dry-run", "--set", "direct.text=other")
    assert re.search(r"squares\s+user_stages:squares\s+done\s+no\s+unchanged", result.output)
    assert re.search(r'direct\s+.*changed\s+yes\s+parameters changed: text "all is well" -> "other"', result.output)
    assert f"1 of 2 steps would run, in {folder}" in result.output


# --- mistakes ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{config}", "--set", "squares.m=3"],
            "--set squares.m=3: step 'squares' (stage user_stages:squares) has no 'm'",
        ),
        (["{config}", "--set", "nonsense"], "--set nonsense: write --set STEP.parameter=value"),
        (["{config}", "--cluster", "moon"], "--set cluster=moon: 'moon' is not a cluster"),
        (
            ["{config}", "--workers", "2"],
            "--workers is for the cluster `local` or `kubernetes` or `slurm`, and this run uses 'none'; drop it",
        ),
        (
            ["{config}", "--keep-cluster"],
            "--keep-cluster is for the cluster `kubernetes`, and this run uses 'none'; drop it",
        ),
        (["{config}", "--only", "sqares"], "there is no step 'sqares'; did you mean 'squares'?"),
        (["{config}", "--from", "direct"], "step 'direct' needs step 'squares', which is not done; run it first"),
        (["{config}.no"], "there is no such file"),
        (["{config}", "--bogus"], "No such option"),
        (["{config}", "--workers", "0"], "--workers"),
        (["run"], "CONFIG"),
        (["status", "{config}.no"], "is not a run folder"),
        (["schema", "--output", "{config}"], "cannot write to "),
        (["schema", "moon"], "name a schema (context, runs, status, workflow), or give --output FOLDER"),
    ],
)
def test_a_wrong_call_gives_code_2_and_a_message_and_leaves_nothing(
    call, tmp_path: Path, folder: Path, arguments: list[str], message: str
) -> None:
    config = write(tmp_path)
    result = call(*(argument.format(config=config) for argument in arguments))
    assert result.code == 2
    assert message in result.errors
    assert "Traceback" not in result.errors
    assert not folder.exists()


def test_a_wrong_config_leaves_a_run_as_it_was(call, tmp_path: Path, folder: Path) -> None:
    call(write(tmp_path))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = call(write(tmp_path, CONFIG + "  - image_cub\nmore: 1\n"))
    assert result.code == 2
    assert "2 problems" in result.errors
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_check_lists_every_problem_and_writes_nothing(call, tmp_path: Path, folder: Path) -> None:
    config = write(tmp_path)
    assert call("check", config).output == f"{config}: fine, 2 steps: squares, direct\n"
    result = call("check", config, "--set", "squares.n=0", "--set", "direct.m=1", "--set", "dirct.n=1")
    assert result.code == 2
    assert f"Error: {config}: 3 problems\n  1. " in result.errors
    assert not folder.exists()


def test_a_run_that_another_driver_holds_is_refused(call, tmp_path: Path, folder: Path) -> None:
    config = write(tmp_path)
    with RunStore(str(folder)).lock():
        result = call(config)
    assert result.code == 2
    assert f"{folder} is in use by process {os.getpid()}" in result.errors


# --- looking ---


def test_status_shows_a_run_to_people_and_to_programs(call, tmp_path: Path, folder: Path) -> None:
    call(write(tmp_path, BRANCHES))
    result = call("status", folder)
    assert result.code == 0
    assert re.match(r"Run \d{8}T\d{6}Z-[0-9a-f]{6}: failed\n", result.output)
    document = json.loads(call("status", folder, "--json").output)
    jsonschema.validate(document, SCHEMAS["status"]())
    assert [(step["id"], step["state"], step["attempts"]) for step in document["steps"]] == [
        ("bad", "failed", 1),
        ("direct", "blocked", 0),
        ("aside", "done", 1),
    ]


def test_stages_are_listed_with_what_they_do(call) -> None:
    lines = call("stages").output.splitlines()
    assert [line.split()[0] for line in lines] == list(stage_names())
    assert all(len(line.split()) > 3 for line in lines)


def test_a_stage_shows_its_parameters_with_defaults_and_meaning(call) -> None:
    output = call("stages", "user_stages:squares").output
    assert output.startswith("user_stages:squares: Sum the squares of some numbers.\n")
    assert re.search(r"^n +3 +How many tasks\.", output, re.MULTILINE)
    assert re.search(r"^cell +0\.0 +rad +An angle\.", output, re.MULTILINE)
    output = call("stages", "subtract_continuum").output
    assert re.search(r"^line_free +null +Channels without line", output, re.MULTILINE)
    assert re.search(r'^cell_size +"auto" +rad +Side of a pixel', call("stages", "image_cube").output, re.MULTILINE)
    parts = call("stages", "calibrate").output
    assert re.search(r"^bandpass\.average +1 +Channels that share", parts, re.MULTILINE)
    assert re.search(r"^bandpass\.phase_up\.min_snr +\d", parts, re.MULTILINE)
    assert re.search(r"^manual\[\]\.antennas +null +All baselines", call("stages", "flag").output, re.MULTILINE)
    assert re.search(r"^models\.NAME\[\]\.flux ", call("stages", "set_model").output, re.MULTILINE)
    assert "observation.seed" not in call("stages", "simulate").output  # `radps schema` has an observation
    wrong = call("stages", "image_cub")
    assert wrong.code == 2
    assert "did you mean 'image_cube'?" in wrong.errors


def test_schemas_are_printed_and_written(call, tmp_path: Path) -> None:
    assert call("schema", "status").output == format_schema("status")
    assert call("schema", "--output", tmp_path / "schemas").code == 0
    assert sorted(path.name for path in (tmp_path / "schemas").iterdir()) == [
        "context.json",
        "runs.json",
        "status.json",
        "workflow.json",
    ]


def test_version_and_help_are_there(call) -> None:
    assert call("--version").output == f"{radps.__version__}\n"
    text = call("--help").output
    assert "radps-run CONFIG [OPTIONS]" in " ".join(text.split())
    assert {"run", "check", "status", "stages", "schema"} <= set(text.split())
    assert "--dry-run" in call("run", "--help").output


# --- processes ---


@pytest.mark.parametrize(("number", "cluster"), [(signal.SIGINT, "local"), (signal.SIGTERM, "none")])
def test_a_signal_stops_the_run_with_code_130_and_the_next_call_goes_on(
    call, start, tmp_path: Path, folder: Path, number: int, cluster: str
) -> None:
    marker = tmp_path / "started"
    config = tmp_path / "config.yaml"
    config.write_text(
        f"run: {folder}\ncluster: {cluster}\nsteps:\n  - user_stages:direct\n"
        f"  - user_stages:sleeps: {{n: 4, seconds: 60, marker: {marker}}}\n"
    )
    process = start(config, *(["--workers", 1] if cluster == "local" else []))
    deadline = time.monotonic() + 60.0
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == f"Stopped; the same command goes on from here. Run folder: {folder}\n"
    assert re.search(r"sleeps: stopped in \d+\.\d s", output)
    states = [str(record.state) for record in RunStore(str(folder)).load().steps.values()]
    assert states == ["done", "stopped"]
    result = call(config, "--cluster", "none", "--set", "sleeps.seconds=0")
    assert result.code == 0
    assert "direct: done before, unchanged" in result.output


def test_a_run_goes_on_when_nobody_reads_what_it_says(start, tmp_path: Path, folder: Path) -> None:
    process = start(write(tmp_path, CONFIG + "  - user_stages:sleeps: {{seconds: 0.3}}\n  - user_stages:cycles\n"))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=60)
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.returncode == 0
    assert {str(record.state) for record in RunStore(str(folder)).load().steps.values()} == {"done"}


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (["--help"], {"numpy", "pydantic", "dask", "zarr", "yaml", "xarray", "astropy"}),
        (["{config}", "--dry-run"], {"distributed", "xarray", "xradio", "pandas", "pyuvdata", "astropy.coordinates"}),
    ],
)
def test_starting_up_imports_nothing_heavy(
    user_stages: str, tmp_path: Path, arguments: list[str], without: set[str]
) -> None:
    # Times depend on the machine; what is imported is what costs them.
    config = write(tmp_path)
    arguments = [argument.format(config=config) for argument in arguments]
    code = (
        "import sys\nfrom radps.cli import main\ntry:\n    main(sys.argv[1:])\n"
        "except SystemExit as leave:\n    assert not leave.code\nprint('MODULES', *sys.modules)"
    )
    path = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(result.stdout.partition("MODULES")[2].split())
    assert "radps.cli" in modules
    assert without & modules == set()


def test_a_shell_can_complete_commands(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    result = call("--show-completion", "bash")
    assert result.code == 0
    assert "_radps_run_completion" in result.output
