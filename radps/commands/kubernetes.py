"""Commands for Kubernetes: manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from radps.commands.common import errors
from radps.errors import ConfigError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Runs whose driver is on Kubernetes too.")


@app.callback()
def _group() -> None:
    """Keep `manifest` a command of its own: typer makes a single command the whole group."""


@app.command("manifest")
def manifest_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Workflow file (YAML), with a Kubernetes cluster.")],
    service_account: Annotated[
        str, typer.Option("--service-account", metavar="NAME", help="Of the driver's pod.")
    ] = "radps-driver",
    dask_job: Annotated[
        bool,
        typer.Option("--dask-job", help="A DaskJob: Dask's operator makes the cluster, the driver needs no rights."),
    ] = False,
    claim_size: Annotated[
        str | None,
        typer.Option("--claim-size", metavar="SIZE", help="Make the claims of cluster.volumes too, e.g. 100Gi."),
    ] = None,
    storage_class: Annotated[
        str | None, typer.Option("--storage-class", metavar="NAME", help="Of new claims; default: that of the cluster.")
    ] = None,
) -> None:
    """Print the objects of a run: the driver's Job or DaskJob, its config, new claims.

    `radps-run kubernetes manifest CONFIG | kubectl apply -f -` starts the run, with `delete` it is stopped. Leave out
    --claim-size when you delete: claims are deleted with their data.
    """
    from radps.execution.clusters import ALLOWED_FAILURES
    from radps.execution.kubernetes.dask_job import dask_job as make_dask_job
    from radps.execution.kubernetes.driver import check_run_folder, driver_job, driver_name, driver_objects
    from radps.execution.kubernetes.model import KubernetesCluster
    from radps.workflows.reading import load_workflow

    with errors():
        workflow = load_workflow(config)
        cluster = workflow.cluster
        if not isinstance(cluster, KubernetesCluster):
            raise ConfigError(
                str(config),
                [f"its cluster is {cluster.kind!r}; a manifest needs cluster: {{kind: kubernetes, image: ...}}"],
            )
        if storage_class and not claim_size:
            raise ConfigError("command line", ["--storage-class is for new claims; give their --claim-size too"])
        check_run_folder(cluster, workflow.run)
        name = driver_name(config.stem)
        if dask_job:
            retries = max(step.policy.retries for step in workflow.steps)
            job = make_dask_job(cluster, name, retries + ALLOWED_FAILURES)
        else:
            job = driver_job(cluster, name, service_account)
        objects = driver_objects(
            cluster,
            name,
            config.read_text(encoding="utf-8"),
            job,
            claim_size=claim_size,
            storage_class=storage_class,
        )
        typer.echo(_as_yaml(objects), nl=False)


def _as_yaml(objects: list[dict[str, Any]]) -> str:
    """Return objects as a person reads them: texts of more lines as such, and what stands twice written twice."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _: Any) -> bool:
            return True

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, represent)
    return str(yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, width=120))
