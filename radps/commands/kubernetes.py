"""Commands for Kubernetes: manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    claim_size: Annotated[
        str | None,
        typer.Option("--claim-size", metavar="SIZE", help="Make the claims of cluster.volumes too, e.g. 100Gi."),
    ] = None,
    storage_class: Annotated[
        str | None, typer.Option("--storage-class", metavar="NAME", help="Of new claims; default: that of the cluster.")
    ] = None,
) -> None:
    """Print the objects of a run: the driver's Job, its config, new claims.

    `radps-run kubernetes manifest CONFIG | kubectl apply -f -` starts the run, with `delete` it is stopped. Leave out
    --claim-size when you delete: claims are deleted with their data.
    """
    import yaml

    from radps.execution.kubernetes.driver import check_run_folder, driver_name, driver_objects
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
        objects = driver_objects(
            cluster,
            driver_name(config.stem),
            config.read_text(encoding="utf-8"),
            service_account=service_account,
            claim_size=claim_size,
            storage_class=storage_class,
        )
        typer.echo(yaml.safe_dump_all(objects, sort_keys=False), nl=False)
