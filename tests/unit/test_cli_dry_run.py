"""`--dry-run` says of each step what it is and why, and the run then does exactly that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from radps.run_folder.store import RunStore

CONFIG = """\
run: {run}
cluster: none
{more}
steps:
  - {{id: first, stage: user_stages:squares}}
  - {{id: own, stage: dry_run_stage:stage, after: [first]}}
  - {{id: note, stage: user_stages:writes_product, after: [first]}}
  - {{id: last, stage: user_stages:direct, after: [note]}}
"""

STAGE = """\
from radps import Outcome, StageParams


class Params(StageParams):
    pass


def stage(context, params: Params):
    return Outcome(message="{text}")
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config with a stage of the user's own beside it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dry_run_stage.py").write_text(STAGE.format(text="one"))
    return write(tmp_path)


def write(folder: Path, more: str = "") -> Path:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(run=folder / "run", more=more))
    return path


def rows(output: str) -> dict[str, tuple[str, str, str]]:
    """Return step -> state, whether it runs, and why."""
    pattern = re.compile(r"(\w+)\s+[\w:]+\s+(done|new|changed|stale|again|left out)\s+(yes|no)\s+(.*?)\s*$")
    return {match[1]: (match[2], match[3], match[4]) for line in output.splitlines() if (match := pattern.match(line))}


def check_run(call, config: Path, *options: str) -> dict[str, tuple[str, str, str]]:
    """Ask what would be done, do it, compare, and return the rows."""
    before = {name: record.attempt for name, record in RunStore(str(config.parent / "run")).load().steps.items()}
    found = rows(call(config, *options, "--dry-run").output)
    result = call(config, *options)
    assert result.code == 0
    started = re.findall(r"^(\w+): started", result.output, re.MULTILINE)
    assert sorted(started) == sorted(name for name, (_, runs, _) in found.items() if runs == "yes")
    after = {name: record.attempt for name, record in RunStore(str(config.parent / "run")).load().steps.items()}
    assert sorted(started) == sorted(name for name in after if after[name] != before[name])
    return found


def test_each_state_of_a_step_is_said_and_done(call, config: Path, tmp_path: Path) -> None:
    assert set(rows(call(config, "--dry-run").output).values()) == {("new", "yes", "never run")}
    assert call(config).code == 0
    done, stale = ("done", "no", "unchanged"), ("stale", "yes", "after note, which will run")

    assert set(check_run(call, config).values()) == {done}

    found = check_run(call, config, "--set", "note.text=other")
    changed = ("changed", "yes", 'parameters changed: text "" -> "other"')
    assert found == {"first": done, "own": done, "note": changed, "last": stale}
    check_run(call, config)

    found = check_run(call, config, "--redo", "note", "--until", "note")
    again, left_out = ("again", "yes", "asked for by --redo"), ("left out", "no")
    assert found["note"] == again
    assert found["own"][:2] == left_out
    assert found["last"][:2] == ("stale", "no")  # it needs the note, so that its result is dropped
    assert check_run(call, config)["last"] == ("stale", "yes", "step note was done again")

    (tmp_path / "dry_run_stage.py").write_text(STAGE.format(text="another"))
    found = check_run(call, config)
    assert found["own"] == ("changed", "yes", f"the code of the stage changed: {tmp_path / 'dry_run_stage.py'}")
    assert [name for name, row in found.items() if row[1] == "yes"] == ["own"]

    note = next((tmp_path / "run/products").glob(f"note-{attempt(tmp_path, 'note')}"))
    (note / "note.txt").unlink()
    found = check_run(call, config)
    assert found["note"] == ("changed", "yes", f"products/{note.name} was changed: all 1 files are gone")
    assert (found["last"], found["own"], found["first"]) == (stale, done, done)


def attempt(folder: Path, step: str) -> int:
    return RunStore(str(folder / "run")).load().steps[step].attempt


def test_a_dependency_that_is_listed_redoes_everything_once(call, config: Path, tmp_path: Path) -> None:
    call(config)
    config = write(tmp_path, "dependencies: [pluggy]")
    found = check_run(call, config)
    assert re.fullmatch(r'versions changed: pluggy \(none\) -> ".+"', found["first"][2])
    assert {runs for _, runs, _ in found.values()} == {"yes"}
    assert {state for state, _, _ in check_run(call, config).values()} == {"done"}


def test_a_new_version_of_radps_is_said(call, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(config)
    monkeypatch.setattr("radps.__version__", "99")
    found = check_run(call, config)
    assert re.fullmatch(r'versions changed: radps ".+" -> "99"', found["first"][2])
    assert {runs for _, runs, _ in found.values()} == {"yes"}


def test_the_tasks_of_steps_that_could_start_are_counted(call, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    steps = ["simulate: {observation: {telescope: alma}}", "import_data", "report"]
    path.write_text(f"run: {tmp_path}/run\ncluster: none\nsteps:\n" + "".join(f"  - {step}\n" for step in steps))
    output = call(path, "--dry-run").output
    assert re.search(r"^simulate: [1-9]\d* tasks$", output, re.MULTILINE)
    assert re.search(r"tasks: 1 at a time, of up to [\d.]+ GiB each$", output, re.MULTILINE)
    assert "import_data: " not in output
    assert not (tmp_path / "run").exists()


def test_what_does_its_work_while_it_is_called_is_not_called(call, config: Path) -> None:
    output = call(config, "--dry-run").output
    assert "own: " not in output
