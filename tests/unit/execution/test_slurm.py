"""Jobs of Slurm: the script that is submitted, what is refused, and a run by a queue that starts jobs at once."""

from __future__ import annotations

import getpass
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from radps.errors import ClusterError
from radps.execution.clusters import open_engine, parse_cluster, planned_resources
from radps.execution.slurm import opening
from radps.execution.slurm.model import SlurmCluster, cluster_arguments, slurm_time
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

GIB = 2**30

SBATCH = """#!{python}
# A queue that starts every job at once, and keeps the number of its process.
import pathlib, subprocess, sys
here = pathlib.Path({folder!r})
if (here / "refuse").exists():
    sys.exit("sbatch: error: invalid partition specified: moon")
script = pathlib.Path(sys.argv[-1]).read_text()
if "--test-only" in sys.argv:
    sys.exit(0)
count = len(list(here.glob("script-*")))
path = here / f"script-{{count}}.sh"
path.write_text(script)
if (here / "hold").exists():
    print("Submitted batch job 7")
    sys.exit(0)
with open(here / "job.log", "a") as log:
    job = subprocess.Popen(["bash", str(path)], stdout=log, stderr=log, start_new_session=True)
print("Submitted batch job", job.pid)
"""

SCANCEL = """#!{python}
import os, pathlib, signal, sys
os.killpg(int(sys.argv[-1]), signal.SIGTERM)
(pathlib.Path({folder!r}) / "cancelled").write_text(sys.argv[-1])
"""

SQUEUE = """#!{python}
print("7 PENDING Priority")
"""


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A queue on this machine: its folder."""
    folder = tmp_path / "queue"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL), ("squeue", SQUEUE)):
        (folder / name).write_text(text.format(python=sys.executable, folder=str(folder)))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def slurm(folder: Path, **fields: Any) -> SlurmCluster:
    """Return a small cluster."""
    small = {"cores": 1, "memory": "1 GiB", "interface": "lo", "job_folder": str(folder / "jobs")}
    return SlurmCluster(kind="slurm", **{**small, **fields})


# --- the model ---


def test_the_config_says_what_a_job_gets() -> None:
    cluster = parse_cluster(
        {"kind": "slurm", "cores": 8, "memory": "32 GiB", "processes": 4, "workers": 10, "walltime": "2 h"}
    )
    assert isinstance(cluster, SlurmCluster)
    assert (cluster.threads, cluster.most_workers, cluster.task_memory_bytes) == (2, 12, 4 * GIB)
    offer = planned_resources(cluster)
    assert offer is not None
    assert (offer.slots, offer.memory_bytes) == (24, int((0.7 * 8 * GIB - 450 * 2**20) / 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": 2, "adapt": {"maximum": 3}}, "there are workers: 2 and adapt; remove one of both"),
        ({"adapt": {"minimum": 4, "maximum": 3}}, "adapt from 4 to 3 workers: maximum has to be at least minimum"),
        ({"cores": 4, "processes": 3, "memory": "4 GiB"}, "4 cores cannot be shared by 3 processes"),
        ({"cores": 8, "memory": "1 GiB"}, "8 processes share 1024 MiB, and need 256 MiB each"),
        ({"queue": "a b"}, "queue"),
        ({"prologue": ["a\nb"]}, "prologue"),
        ({"nodes": 3}, "nodes"),
    ],
)
def test_what_makes_no_job_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SlurmCluster.model_validate({"kind": "slurm", "cores": 1, "memory": "1 GiB", **fields})


@pytest.mark.parametrize(
    ("seconds", "text"), [(60.0, "0-00:01:00"), (3601.0, "0-01:01:00"), (26 * 3600.0, "1-02:00:00")]
)
def test_slurm_reads_days_and_minutes(seconds: float, text: str) -> None:
    assert slurm_time(seconds) == text


# --- the script ---


def test_the_script_of_a_job_needs_no_queue(tmp_path: Path) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue", reason="jobs of Slurm need radps[slurm]")
    config = slurm(
        tmp_path,
        cores=4,
        memory="8 GiB",
        processes=2,
        queue="short",
        account="hi",
        walltime="90 min",
        directives=["--constraint=skylake"],
        prologue=["module load python"],
        local_folder="/scratch",
        resources={"GPU": 1},
        python="/opt/python",
    )
    with jobqueue.SLURMCluster(**cluster_arguments(config, {"OMP_NUM_THREADS": "1"})) as cluster:
        lines = cluster.job_script().splitlines()
    assert {
        "#SBATCH -J radps",
        "#SBATCH -p short",
        "#SBATCH -A hi",
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=8G",
        "#SBATCH -t 0-01:30:00",
        "#SBATCH --constraint=skylake",
        f"#SBATCH -o {tmp_path}/jobs/radps-%J.out",
    } <= set(lines)
    assert lines.index("export OMP_NUM_THREADS=1") < lines.index("module load python") < len(lines) - 1
    command = lines[-1]
    assert command.startswith("/opt/python -m distributed.cli.dask_worker tcp://127.0.0.1:")
    for option in (
        "--nthreads 2",
        "--memory-limit 4.00GiB",
        "--nworkers 2",
        "--nanny",
        "--local-directory /scratch",
        "--resources GPU=1",
        "--interface lo",
    ):
        assert option in command


# --- the queue ---


def test_a_machine_without_slurm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ClusterError, match="there is no sbatch on this machine; start the run on a login node"),
        open_engine(slurm(tmp_path)),
    ):
        pass


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ClusterError, match=r"needs .*, which is not installed; pip install 'radps\[slurm\]'"):
        opening._load_cluster_class()


def test_what_the_queue_refuses_is_told_in_its_words(queue: Path) -> None:
    (queue / "refuse").touch()
    message = "Slurm refuses the job: sbatch: error: invalid partition specified: moon; correct queue, account"
    with pytest.raises(ClusterError, match=message):
        opening.check_job("#!/bin/sh")


def test_a_queue_that_does_not_answer_is_told(queue: Path) -> None:
    (queue / "sbatch").write_text("#!/nowhere")
    with pytest.raises(ClusterError, match=r"sbatch does not answer .*; check that Slurm works here: sinfo"):
        opening.check_job("#!/bin/sh")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match=r"name another one that the nodes see \(job_folder\)"):
        opening._make_job_folder(str(tmp_path / "file" / "jobs"))


def test_an_interface_that_is_not_there_is_told(queue: Path) -> None:
    with (
        pytest.raises(ClusterError, match=r"cannot start a scheduler for Slurm here: .*; check cluster\.interface"),
        open_engine(slurm(queue, interface="moon0")),
    ):
        pass


@pytest.mark.parametrize("has_name", [True, False])
def test_jobs_that_stay_in_the_queue_are_not_waited_for_without_end(
    queue: Path, has_name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("no name")

    if not has_name:  # as in a container
        monkeypatch.setattr(getpass, "getuser", nobody)
    (queue / "hold").touch()
    message = r"no worker has come from the queue within 0\.5 s \(squeue: 7 PENDING Priority\); wait longer"
    with pytest.raises(ClusterError, match=message), open_engine(slurm(queue, queue_timeout=0.5)):
        pass


def test_a_run_by_way_of_the_queue_is_that_of_one_process(queue: Path, tmp_path: Path, user_stages: str) -> None:
    config = {"run": str(tmp_path / "run"), "steps": [{f"{user_stages}:squares": {"n": 4}}]}
    cluster = slurm(queue, queue_timeout=60, adapt={"maximum": 2})
    workflow = load_workflow({**config, "cluster": cluster.model_dump(mode="json")})
    with open_engine(workflow.cluster, workflow.run, modules=[user_stages]) as engine:
        assert engine.resources().slots == 2, "the one that has come counts, and the one that may come"
        context = run_workflow(workflow, engine=engine)
    # The scheduler is in this process, which goes on with the files, where they can be edited.
    assert not any("radps-user-code" in place for place in sys.path)
    here = run_workflow(load_workflow({**config, "run": str(tmp_path / "here"), "cluster": "none"}))
    assert context.steps["squares"].outcome == here.steps["squares"].outcome
    patience = time.monotonic() + 20
    while not (queue / "cancelled").exists() and time.monotonic() < patience:
        time.sleep(0.1)
    assert (queue / "cancelled").exists()
    assert "tls://127.0.0.1:" in (queue / "script-0.sh").read_text()
    assert not list((queue / "jobs").glob("keys-*"))
