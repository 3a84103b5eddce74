"""Write the images as FITS files, with a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask.delayed import Delayed

from radps.context.lineage import describe_steps, lineage, product_attributes
from radps.context.model import Context
from radps.context.planning import require_memory
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, ProductKind, ProductRecord
from radps.data.fits import estimate_export_memory
from radps.graph_tasks.shapes import map_chunks, run_task
from radps.node_tasks.products import ExportJob, ProductFile, export_image, write_manifest
from radps.stages.base import StageParams

MAIN_COMPANIONS = ("SKY_PRIMARY_BEAM_CORRECTED", "SKY_MOMENT_1", "SKY_MOMENT_2")
"""Variables that are exported with the main one of their image."""


class Params(StageParams):
    """Parameters of the stage `export`."""

    images: tuple[str, ...] = ()
    """Names of the images to write; by default all."""
    all_variables: bool = False
    """Write the residual, the model, the point spread function and the primary beam too."""


def export(context: Context, params: Params) -> Delayed:
    """Write the images as FITS files that CARTA, CASA and astropy read, and a manifest with their checksums."""
    jobs = plan_jobs(context, params)
    for image in _chosen(context, params):
        _, n_l, n_m = image.shape
        needed = estimate_export_memory(n_l, n_m, len(image.polarizations))
        require_memory(context, f"the export of {image.name}", needed)
    files = map_chunks(context, export_image, jobs, name="export_image")
    manifest_path = context.new_path("products", "manifest.json", suffix="")
    content = _describe_run(context, params, jobs)
    images = _chosen(context, params)
    return run_task(context, _finish, files, jobs, images, manifest_path, context.locate(manifest_path), content)


def _describe_run(context: Context, params: Params, jobs: Sequence[ExportJob]) -> dict[str, Any]:
    """Return the head of the manifest: the run, each step that led to a product, and each image's chain of steps."""
    chains = {image: lineage(context.steps, image) for image in dict.fromkeys(job.image for job in jobs)}
    needed = {record.id for chain in chains.values() for record in chain}
    place = context.place()
    export_step = product_attributes(context, params.model_dump(mode="json"))
    return {
        "run": context.run_id,
        "steps": {
            **describe_steps(record for record in context.steps.values() if record.id in needed),
            place.step: {
                key: export_step[key] for key in ("stage", "attempt", "parameters", "fingerprint", "versions")
            },
        },
        "lineages": {image: [*(record.id for record in chain), place.step] for image, chain in chains.items()},
    }


def plan_jobs(context: Context, params: Params) -> tuple[ExportJob, ...]:
    """Return one job for each file."""
    jobs = []
    for image in _chosen(context, params):
        for variable in _variables(image, params):
            suffix = "" if variable == "SKY" else "." + variable.removeprefix("SKY_").lower()
            path = context.new_path("products", f"{image.name}{suffix}.fits", suffix="")
            jobs.append(ExportJob(image.name, variable, context.locate(image.path), path, context.locate(path)))
    return tuple(jobs)


def _chosen(context: Context, params: Params) -> tuple[ImageRecord, ...]:
    """Return the images to write."""
    return tuple(map(context.image_record, params.images)) or context.images


def _variables(image: ImageRecord, params: Params) -> list[str]:
    return [
        image.variable,
        *(name for name in image.companions if params.all_variables or name in MAIN_COMPANIONS),
    ]


def _finish(
    files: Sequence[ProductFile],
    jobs: Sequence[ExportJob],
    images: Sequence[ImageRecord],
    manifest_path: str,
    manifest_url: str,
    head: dict[str, Any],
) -> Outcome:
    """Write the manifest, and register the files."""
    sources = {image.name: image for image in images}
    products = [
        ProductRecord(
            path=job.path,
            kind=ProductKind.FITS,
            source=job.image,
            variable=job.variable,
            field=sources[job.image].field,
            window=sources[job.image].window,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )
        for job, file in zip(jobs, files, strict=True)
    ]
    if not products:
        return Outcome(status=OutcomeStatus.NOTHING, message="there is no image to export")
    listed_products = [
        {**product.model_dump(mode="json", exclude={"step"}), "lineage": head["lineages"][product.source]}
        for product in products
    ]
    content = {"run": head["run"], "products": listed_products, "steps": head["steps"]}
    manifest = write_manifest(manifest_url, content)
    listed = ProductRecord(
        path=manifest_path,
        kind=ProductKind.MANIFEST,
        source="",
        size_bytes=manifest.size_bytes,
        sha256=manifest.sha256,
    )
    plural = "s" * (len(products) > 1)
    return Outcome(
        message=f"{len(products)} FITS file{plural} and a manifest in {manifest_path.rpartition('/')[0]}",
        products=(*products, listed),
        summary={"files": len(products), "bytes": sum(product.size_bytes for product in products)},
    )
