"""`radps-run`: run, check and look at workflows from the command line.

``radps-run CONFIG`` runs or resumes; the other commands stand beside it. Exit codes: 0 done, 1 a step failed, 2 the
config or the usage is wrong, 130 stopped by Ctrl-C or SIGTERM.

The commands import what they need themselves: all of it together takes half a second, which `--help` need not pay.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import radps
from radps.commands import describing, drawing, kubernetes, looking, managing
from radps.commands.common import EXIT_STEP_FAILED, errors
from radps.errors import ConfigError, RadpsError

if TYPE_CHECKING:
    from radps.workflows.model import Workflow
    from radps.workflows.plan import Selection

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From raw visibilities to calibrated data, images and spectral cubes.\n\n"
    "`radps-run CONFIG [OPTIONS]` runs or resumes the workflow of a config; options: `radps-run run --help`.",
)

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="Workflow file (YAML).")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Override, e.g. data.path=FILE or STEP.parameter=value; repeatable."
    ),
]
RunUrl = Annotated[str | None, typer.Option("--run", metavar="URL", help="Run folder, instead of that of the config.")]
ClusterName = Annotated[
    str | None,
    typer.Option("--cluster", metavar="none|local|ADDRESS", help="Where to compute, instead of what the config says."),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Workers of the cluster that is started.")]


_OWN_OPTIONS = ("--help", "--version", "--install-completion", "--show-completion")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the name of the program; default those of the process.
    """
    try:
        with errors():
            words = _with_command(list(sys.argv[1:] if arguments is None else arguments))
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    app(words, prog_name="radps-run")


def _with_command(arguments: list[str]) -> list[str]:
    """Return the arguments with the command `run` put before a config."""
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    names += [group.name for group in app.registered_groups if group.name]
    if not arguments or arguments[0] in names or arguments[0] in _OWN_OPTIONS:
        return arguments
    _check_can_be_config(arguments[0], tuple(names))
    return ["run", *arguments]


def _check_can_be_config(word: str, commands: tuple[str, ...]) -> None:
    """Raise if the first word is neither an option nor like a file, but like a command that is misspelt."""
    if word.startswith("-") or Path(word).suffix or Path(word).exists():
        return
    from radps.stages.base import close_match

    raise ConfigError(
        "command line",
        [
            f"there is no command and no file {word!r}{close_match(word, commands)}; commands: {', '.join(commands)}; "
            "or give a workflow file (YAML)"
        ],
    )


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(radps.__version__)
        raise typer.Exit


@app.command()
def run(
    config: Config,
    run_url: RunUrl = None,
    settings: Set = None,
    cluster: ClusterName = None,
    workers: Workers = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="This step and those that need it.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="STEP", help="This step and those that it needs.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="STEP", help="Only this step; repeatable.")
    ] = None,
    redo: Annotated[
        list[str] | None, typer.Option("--redo", metavar="STEP", help="Do this step again, changed or not; repeatable.")
    ] = None,
    pause_before: Annotated[
        list[str] | None,
        typer.Option("--pause-before", metavar="STEP", help="Stop before this step; a terminal asks; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Plain lines instead of bars that move.")] = False,
    keep_cluster: Annotated[
        bool, typer.Option("--keep-cluster", help="Leave a cluster on Kubernetes until it was idle for its time.")
    ] = False,
) -> None:
    """Run or resume a workflow.

    Steps that are done and unchanged are skipped; the plan says why others are done again.
    """
    from radps.workflows.plan import Selection

    with errors():
        workflow = _load(config, run_url, settings, cluster, workers)
        if keep_cluster:
            workflow = _with_cluster(workflow, "--keep-cluster", {"kubernetes": {"keep": True}})
        selection = Selection(start, until, tuple(only or ()), tuple(redo or ()), tuple(pause_before or ()))
        _warn_of_missing_packages(workflow)
        if dry_run:
            _dry_run(workflow, selection)
        else:
            _run(workflow, selection, quiet=quiet)


@app.command()
def check(
    config: Config,
    run_url: RunUrl = None,
    settings: Set = None,
    cluster: ClusterName = None,
    workers: Workers = None,
) -> None:
    """Check a config: every problem at once; warns of packages that are missing here.

    Stages are imported, nothing is written.
    """
    with errors():
        workflow = _load(config, run_url, settings, cluster, workers)
        typer.echo(f"{config}: fine, {len(workflow.steps)} steps: {', '.join(step.id for step in workflow.steps)}")
        _warn_of_missing_packages(workflow)


@app.command()
def stages(
    name: Annotated[str | None, typer.Argument(metavar="[STAGE]", help="Show its parameters.")] = None,
) -> None:
    """List the stages, or the parameters of one."""
    from radps.stages.base import find_stage, parameter_meanings, stage_summaries

    if name is not None:
        with errors():
            from radps.terminal import make_console, show_parameters

            stage = find_stage(name)
            show_parameters(make_console(), f"{stage.name}: {stage.doc}", parameter_meanings(stage))
        return
    summaries = stage_summaries()
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        typer.echo(f"{name:{width}}  {summary}")


@app.command()
def schema(
    name: Annotated[
        str | None, typer.Argument(metavar="[context|runs|status|workflow]", help="Which one to print.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FOLDER", help="Write all of them here.")] = None,
) -> None:
    """Print or write the JSON Schemas.

    They describe configs, contexts (context.json of a run), and what `list --json` and `status --json` print.
    """
    from radps.workflows.schema import SCHEMAS, format_schema

    with errors():
        if output is None:
            if name not in SCHEMAS:
                raise ConfigError("command line", [f"name a schema ({', '.join(SCHEMAS)}), or give --output FOLDER"])
            typer.echo(format_schema(name), nl=False)
            return
        try:
            output.mkdir(parents=True, exist_ok=True)
            for each in SCHEMAS:
                (output / f"{each}.json").write_text(format_schema(each), encoding="utf-8")
        except OSError as error:
            raise ConfigError("command line", [f"cannot write to {output}: {error}; give another --output"]) from error


for _name, _command in (
    ("describe", describing.describe_command),
    ("status", looking.status_command),
    ("watch", looking.watch_command),
    ("graph", drawing.graph_command),
    ("gantt", drawing.gantt_command),
    ("report", looking.report_command),
    ("compare", looking.compare_command),
    ("list", managing.list_command),
    ("stop", managing.stop_command),
    ("remove", managing.remove_command),
    ("prune", managing.prune_command),
):
    app.command(_name)(_command)
app.add_typer(kubernetes.app, name="kubernetes")


def _load(
    config: Path, run_url: str | None, settings: list[str] | None, cluster: str | None, workers: int | None
) -> Workflow:
    """Return the workflow of a config with what the options say."""
    from radps.workflows.reading import load_workflow, parse_overrides

    overrides: dict[str, Any] = parse_overrides(settings or [])
    if run_url is not None:
        overrides["run"] = run_url
    if cluster is not None:
        overrides["cluster"] = cluster
    workflow = load_workflow(config, overrides)
    if workers is None:
        return workflow
    settings_of: dict[str, dict[str, Any]] = {
        "local": {"workers": workers},
        "kubernetes": {"workers": workers, "adapt": None},
        "slurm": {"workers": workers, "adapt": None},
    }
    return _with_cluster(workflow, "--workers", settings_of)


def _with_cluster(workflow: Workflow, option: str, settings: dict[str, dict[str, Any]]) -> Workflow:
    """Return a workflow with other settings of its cluster: kind of cluster -> them."""
    cluster = workflow.cluster
    if cluster.kind not in settings:
        kinds = " or ".join(f"`{kind}`" for kind in settings)
        raise ConfigError(
            "command line", [f"{option} is for the cluster {kinds}, and this run uses {cluster.kind!r}; drop it"]
        )
    return workflow.model_copy(update={"cluster": cluster.model_copy(update=settings[cluster.kind])})


def _warn_of_missing_packages(workflow: Workflow) -> None:
    """Say what a step, the cluster or an object store will miss."""
    from radps.workflows.extras import find_missing_packages

    for problem in find_missing_packages(workflow):
        typer.echo(f"Warning: {problem}", err=True)


def _dry_run(workflow: Workflow, selection: Selection) -> None:
    from radps.data.urls import format_bytes
    from radps.execution.clusters import planned_resources
    from radps.run_folder.store import RunStore
    from radps.terminal import make_console, say, show_plan
    from radps.workflows.graphs import count_planned_tasks
    from radps.workflows.plan import plan_steps

    store = RunStore(workflow.run)
    plan = plan_steps(workflow, store.load() if store.exists() else None, selection)
    console = make_console()
    show_plan(console, plan, count_planned_tasks(workflow, plan))
    count = sum(planned.runs for planned in plan)
    offer = planned_resources(workflow.cluster)
    memory = "" if offer is None else f": {offer.slots} at a time, of up to {format_bytes(offer.memory_bytes)} each"
    text = f"{count} of {len(plan)} steps would run, in {workflow.run}; tasks{memory or ' as the scheduler offers'}"
    say(console, text)


def _run(workflow: Workflow, selection: Selection, *, quiet: bool) -> None:
    """Run with progress, show the result, and leave with the exit code."""
    from radps.data.urls import join_url
    from radps.progress import make_observer
    from radps.terminal import make_console, say, show_error, show_status
    from radps.workflows.log_file import LOG
    from radps.workflows.run import Runner
    from radps.workflows.status import make_status

    console, stderr = make_console(), make_console(stderr=True)
    observer = make_observer(console, in_process=workflow.cluster.kind == "none", quiet=quiet)
    # Where nobody can answer, a run that is to pause ends there.
    on_pause = observer.ask if sys.stdin.isatty() and sys.stdout.isatty() else None
    runner = Runner(workflow, selection=selection, observer=observer, on_pause=on_pause)
    try:
        with observer:
            context = runner.run()
    except KeyboardInterrupt:
        typer.echo(f"Stopped; the same command goes on from here. Run folder: {workflow.run}", err=True)
        raise
    except RadpsError as error:
        if not observer.began:
            raise
        show_error(stderr, error)
        raise typer.Exit(EXIT_STEP_FAILED) from None
    show_status(console, make_status(context, workflow.run))
    for failure in runner.failures.values():
        show_error(stderr, failure)
    if any(not isinstance(failure.__cause__, RadpsError | None) for failure in runner.failures.values()):
        place = join_url(workflow.run, LOG)
        say(stderr, f"The whole traceback: {place}")
    if runner.failures:
        raise typer.Exit(EXIT_STEP_FAILED)
