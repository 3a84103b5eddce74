"""The user's own code reaches a cluster that cannot import it, or the error says why."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

import radps
from radps.context.records import StepState
from radps.errors import ClusterError
from radps.execution.client import OnClient
from radps.execution.user_code import find_modules, send_user_code
from radps.stages.base import user_modules
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

STAGE = """
from radps import Context, Outcome, StageParams
from radps.graph_tasks.shapes import run_task
from sent_helper import numbers


class Params(StageParams):
    n: int = 1


def finish(number):
    return Outcome(summary={"number": number})


def stage(context: Context, params: Params):
    return run_task(context, finish, run_task(context, numbers.make, params.n))
"""
MODULES = ("sent_stage", "sent_helper.numbers")


def write_code(folder: Path, factor: int) -> None:
    """Write a stage and the helper in a package without an __init__.py that it imports."""
    (folder / "sent_helper").mkdir(parents=True, exist_ok=True)
    (folder / "sent_stage.py").write_text(STAGE)
    (folder / "sent_helper" / "numbers.py").write_text(f"def make(n):\n    return n * {factor}\n")


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the user's code, which only this process knows."""
    folder = tmp_path / "code"
    write_code(folder, 10)
    monkeypatch.syspath_prepend(folder)
    yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("sent_")]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Start a scheduler or a worker as a process of its own, with nothing on its path but radps."""
    with ExitStack() as stack:

        def start(module: str, *options: str, path: str = "") -> None:
            folder = tmp_path / f"process-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            python_path = os.pathsep.join(filter(None, [str(Path(radps.__file__).parents[1]), path]))
            command = [sys.executable, "-m", f"distributed.cli.{module}", *options, "--no-dashboard"]
            process = subprocess.Popen(
                [*command, "--scheduler-file", str(tmp_path / "scheduler.json")],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": python_path},
                stdout=subprocess.DEVNULL,
                stderr=stack.enter_context((folder / "log.txt").open("wb")),
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)

        yield start


@pytest.fixture
def client(tmp_path: Path, start: Callable[..., None]) -> Iterator[Client]:
    """A cluster of one worker that knows nothing of the code here."""
    start("dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    start_worker(start, "first")
    deadline = time.monotonic() + 60
    while not (tmp_path / "scheduler.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with Client(scheduler_file=str(tmp_path / "scheduler.json"), set_as_default=False, timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
        yield client


def start_worker(start: Callable[..., None], name: str, path: str = "") -> None:
    start("dask_worker", "--host", "127.0.0.1", "--name", name, "--nthreads", "1", "--no-nanny", path=path)


def run_stage(client: Client, folder: Path, *, send: bool = True) -> Any:
    """Run the stage on a cluster and return the record of its step."""
    address = client.scheduler.address
    workflow = load_workflow({"run": str(folder), "cluster": address, "steps": ["sent_stage:stage"]})
    if send:
        return run_workflow(workflow).steps["stage"]
    with Client(address, set_as_default=False) as own:
        return run_workflow(workflow, engine=OnClient(own, "the cluster")).steps["stage"]


def number(record: Any) -> int:
    assert record.state is StepState.DONE, record.error
    return int(record.outcome.summary["number"])


@pytest.mark.slow
def test_code_reaches_a_cluster_that_cannot_import_it(
    client: Client, code: Path, tmp_path: Path, start: Callable[..., None]
) -> None:
    assert user_modules(["sent_stage:stage", "flag"]) == MODULES
    # Without it the stage does not run there: this is no shared folder.
    assert run_stage(client, tmp_path / "without", send=False).state is StepState.FAILED
    assert number(run_stage(client, tmp_path / "sent")) == 10

    # A worker that comes later has it too.
    start_worker(start, "second")
    client.wait_for_workers(2, timeout=60)
    found = client.run(find_modules, MODULES, ("", 0))
    assert len(found) == 2
    assert all(place for modules in found.values() for place, _ in modules.values())

    # What was edited is sent again, in place of what was sent before, and what was sent before can come back.
    for factor in (100, 10):
        write_code(code, factor)
        assert number(run_stage(client, tmp_path / f"edited-{factor}")) == factor


@pytest.mark.slow
def test_code_that_is_there_is_used_and_other_code_is_refused(
    client: Client, code: Path, tmp_path: Path, start: Callable[..., None]
) -> None:
    other = tmp_path / "other"
    write_code(other, 99)
    start_worker(start, "second", path=str(other))
    client.wait_for_workers(2, timeout=60)
    with pytest.raises(ClusterError) as error:
        send_user_code(client, MODULES, "the cluster")
    text = str(error.value)
    assert f"module 'sent_helper.numbers' is {other}/sent_helper/numbers.py at worker tcp://127.0.0.1:" in text
    assert f"which differs from {code}/sent_helper/numbers.py here" in text
    assert "install the same version on both sides, or remove it there" in text
    assert "sent_stage" not in text

    # The file is the same now, and the worker that looked at the other one takes it.
    write_code(other, 10)
    assert number(run_stage(client, tmp_path / "same")) == 10


def test_a_process_forgets_what_it_imported_but_not_the_one_that_asks(code: Path) -> None:
    module = importlib.import_module("sent_helper.numbers")
    asking = (socket.gethostname(), os.getpid())
    assert set(find_modules(MODULES, asking)) == set(MODULES)
    assert sys.modules["sent_helper.numbers"] is module
    find_modules(MODULES, ("elsewhere", os.getpid()))
    assert "sent_helper.numbers" not in sys.modules


class FakeClient:
    """A cluster that has no module, and loses what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def run(self, function: Any, modules: list[str], driver: Any) -> dict[str, Any]:
        return {"tcp://there:1": {module: ("", "") for module in modules}}

    def run_on_scheduler(self, function: Any, *arguments: Any) -> Any:
        return self.run(function, arguments[0], None)["tcp://there:1"] if function is find_modules else None

    def register_plugin(self, plugin: Any, name: str) -> None:
        self.sent.append(plugin)


def test_code_that_does_not_arrive_is_an_error(code: Path) -> None:
    client = FakeClient()
    with pytest.raises(
        ClusterError, match=r"was sent to there, but worker tcp://there:1 imports module .* from nowhere"
    ):
        send_user_code(client, MODULES, "there")
    assert len(client.sent) == 1


def test_a_compiled_module_cannot_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / f"sent_compiled{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    path.write_bytes(b"")
    client = FakeClient()
    with pytest.raises(
        ClusterError, match=r"there does not have the code .* because .*sent_compiled.* no Python source"
    ):
        send_user_code(client, ["sent_compiled"], "there")
    assert client.sent == []


def test_without_stages_of_the_user_nobody_is_asked() -> None:
    send_user_code(None, user_modules(["flag"]), "there")  # type: ignore[arg-type]
