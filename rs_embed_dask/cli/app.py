"""The verbs again, for a terminal: ``rs-embed-dask embed | plan | map | status | resume | verify | models | ...``.

Exit codes: 0 done, 1 the run ended but items failed (or could not continue), 2 the request is invalid, 130 stopped by
Ctrl-C. An error is one message with the value, the reason and the fix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import rs_embed_dask as rs
from rs_embed_dask.cli import request as read, show
from rs_embed_dask.cli.ask import asking
from rs_embed_dask.cli.options import (
    CliMapOptions,
    CliOptions,
    ClusterOptions,
    DoctorOptions,
    ModelOptions,
    ProviderOptions,
    StorageOptions,
    TimeOptions,
    taking,
)
from rs_embed_dask.cli.watch import show_run
from rs_embed_dask.errors import EngineError, PlanError, ProviderError, RsEmbedError

__all__ = ["app", "main"]

FAILED, AT_FAULT, STOPPED = 1, 2, 130


class Commands(TyperGroup):
    """The commands; an error of the package is printed as one message and sets the exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except RsEmbedError as error:
            show.problem(str(error))
            of_the_run = isinstance(error, EngineError | ProviderError) and not isinstance(error, PlanError)
            raise typer.Exit(FAILED if of_the_run else AT_FAULT) from None
        except KeyboardInterrupt:
            show.problem("stopped. What was written is kept: `rs-embed-dask resume STORE` continues from there.")
            raise typer.Exit(STOPPED) from None


app = typer.Typer(
    name="rs-embed-dask",
    cls=Commands,
    help="Embeddings of remote-sensing foundation models for any number of places, on Dask.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_app = typer.Typer(help="Manage the weights of models.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
app.add_typer(asking)

StorePath = Annotated[str, typer.Argument(metavar="STORE", help="Path or URL of a store.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PartOf = Annotated[
    str | None,
    typer.Option(
        "--part",
        metavar="K/N",
        rich_help_panel="Where it runs",
        help="Compute only part K of N, from 1, of the chunks; others compute theirs.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print neither progress nor summary.")]


def _version(is_asked: bool) -> None:  # noqa: FBT001  typer calls it so
    if is_asked:
        show.text(f"rs-embed-dask {rs.__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Embeddings of remote-sensing foundation models for any number of places, on Dask."""


def main() -> None:
    """Run the command line and exit with its code."""
    app()


@app.command()
@taking(CliOptions, ClusterOptions, StorageOptions)
def embed(
    options: CliOptions,
    place: ClusterOptions,
    service: StorageOptions,
    *,
    out: Annotated[str, typer.Option("--out", "-o", help="Store to write: a new one, or one to continue.")],
    part: PartOf = None,
    quiet: Quiet = False,
) -> None:
    """Embed places by models into a Zarr store. Run the same command again to continue after a stop."""
    request, share, storage = read.request_from(options), read.part_from(part), read.storage_from(service)
    with show.progress(is_quiet=quiet) as progress:
        rs.compute_embeddings(
            request.places,
            request.models,
            request.span,
            out=out,
            client=show.connection(place),
            progress=progress,
            wait=place.wait,
            part=share,
            storage_options=storage,
            **request.keywords,
        )
    _finish(out, storage, quiet=quiet, part=share)


@app.command()
@taking(CliOptions)
def plan(
    options: CliOptions,
    *,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the provider's catalogue for the scenes of up to 16 places.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a request would read, compute and write, without running it."""
    request = read.request_from(options)
    planned = rs.plan(request.places, request.models, request.span, probe=probe, **request.keywords)
    if as_json:
        show.json_text(planned.to_dict())
    else:
        show.text(planned)


@app.command("map")
@taking(CliMapOptions, ClusterOptions, StorageOptions)
def make_map(
    options: CliMapOptions,
    place: ClusterOptions,
    service: StorageOptions,
    *,
    out: Annotated[str, typer.Option("--out", "-o", help="Map to write: a new one, or one to continue or enlarge.")],
    preview: Annotated[
        bool, typer.Option("--preview/--no-preview", help="Draw the map into its store once it is computed.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Embed a whole region as a seamless field. Run the same command again to continue after a stop."""
    request, storage = read.map_from(options), read.storage_from(service)
    with show.progress(is_quiet=quiet) as progress:
        rs.compute_map(
            request.region,
            request.models,
            request.span,
            out=out,
            client=show.connection(place),
            progress=progress,
            wait=place.wait,
            storage_options=storage,
            preview=preview,
            **request.keywords,
        )
    _finish(out, storage, quiet=quiet)


@app.command()
@taking(CliMapOptions)
def plan_map(options: CliMapOptions, *, as_json: Json = False) -> None:
    """Show what a map would read, compute and write, without making it."""
    request = read.map_from(options)
    planned = rs.plan_map(request.region, request.models, request.span, **request.keywords)
    if as_json:
        show.json_text(planned.to_dict())
    else:
        show.text(planned)


@app.command()
@taking(StorageOptions)
def status(
    service: StorageOptions,
    *,
    store: StorePath,
    items: Annotated[
        bool, typer.Option("--items", help="List every item, or block of a map, with its status and reason.")
    ] = False,
    state: Annotated[
        list[str] | None, typer.Option(help="List only items with this status, e.g. read_failed. Can be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the status of the items of a store, or of the blocks of a map. Exit code 1 if any failed or are pending."""
    report = rs.status(store, storage_options=read.storage_from(service))
    rows = show.chosen_rows(report, state or []) if items or state else None
    if as_json:
        show.json_text(show.status_dict(report, rows))
    else:
        show.status_text(report, rows)
    raise typer.Exit(show.exit_code(report.counts))


@app.command()
@taking(StorageOptions)
def watch(
    service: StorageOptions,
    *,
    store: StorePath,
    every: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds between looks. Default: 2 in a terminal, else 60.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each look.")] = False,
) -> None:
    """Show how a run stands, from its store, until it is complete or Ctrl-C. Exit code 1 if any failed or are pending.

    Needs no cluster: it shows what is done, how fast, who holds the lease and since when, and what went wrong.
    """
    storage = read.storage_from(service)
    raise typer.Exit(
        show.exit_code(show_run(store, storage=storage, every_s=every, is_once=once, as_json=as_json).counts)
    )


@app.command()
@taking(ProviderOptions, ClusterOptions, StorageOptions)
def resume(  # noqa: PLR0913  each is an option
    provider: ProviderOptions,
    place: ClusterOptions,
    service: StorageOptions,
    *,
    store: StorePath,
    only: Annotated[
        list[str] | None, typer.Option(help="Compute only items with this status, e.g. read_failed. Can be repeated.")
    ] = None,
    trust_host: Annotated[
        list[str] | None,
        typer.Option(help="Host that a store of somebody else's may make this machine contact. Can be repeated."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="First compare all of the store with its checksums, and repair it.")
    ] = False,
    part: PartOf = None,
    quiet: Quiet = False,
) -> None:
    """Continue a run or a map that was stopped, or retry what failed."""
    opened, share, storage = read.provider_from(provider), read.part_from(part), read.storage_from(service)
    rs.resume(
        store,
        only=only or None,
        provider=None if opened == "auto" else opened,
        trust_hosts=trust_host or (),
        client=show.connection(place),
        progress=not quiet,
        part=share,
        wait=place.wait,
        storage_options=storage,
        verify=verify,
    )
    _finish(store, storage, quiet=quiet, part=share)


@app.command()
@taking(StorageOptions)
def verify(
    service: StorageOptions,
    *,
    store: StorePath,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait, before a repair, while a run writes to the store.")
    ] = 0.0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged rows back to pending, for `resume`; mend what can be mended.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare all of a store with its checksums. Exit code 1 if something is wrong and not repaired."""
    report = rs.verify(store, repair=repair, wait=wait, storage_options=read.storage_from(service))
    if as_json:
        show.json_text(report.to_dict())
    else:
        show.text(report)
    raise typer.Exit(FAILED if report.is_lasting else 0)


@app.command()
@taking(StorageOptions)
def export(  # noqa: PLR0913  each is an option
    service: StorageOptions,
    *,
    store: StorePath,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, or folder for several.")],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="Of places: geoparquet, netcdf, rs-embed or neuco-csv. Of both, and of maps: cog or stac.",
        ),
    ],
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Model to write. Can be repeated.")] = None,
    dims: Annotated[
        str | None, typer.Option(help="Bands of a COG: pca (colours), all, or numbers of dimensions, e.g. 0,1,2.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Zone of a COG, e.g. utm31. Default: all.")] = None,
    span: Annotated[int | None, typer.Option(help="Span of a COG, by its number from 0. Default: all.")] = None,
    href: Annotated[str | None, typer.Option(help="Where readers of a STAC catalogue find the map.")] = None,
    license: Annotated[  # noqa: A002 - STAC's own word
        str | None, typer.Option(help="SPDX identifier of the embeddings' terms, for STAC.")
    ] = None,
) -> None:
    """Write the results of a store, of places or of a map, in another format."""
    given: dict[str, Any] = {
        "dims": read.dims_from(dims),
        "group": group,
        "span": span,
        "href": href,
        "license": license,
    }
    options = {name: value for name, value in given.items() if value is not None}
    storage = read.storage_from(service)
    show.text(rs.export(store, kind, path, model=model or None, storage_options=storage, **options))


@app.command()
@taking(StorageOptions)
def benchmark(  # noqa: PLR0913  each is an option
    service: StorageOptions,
    stores: Annotated[list[str], typer.Argument(metavar="STORE...", help="Paths or URLs of stores of places.")],
    *,
    label: Annotated[list[str], typer.Option("--label", "-l", help="Column of the places. Can be repeated.")],
    fold: Annotated[
        list[str] | None,
        typer.Option(help="random, blocks, degrees, regions or years; with a setting, e.g. blocks=50000. Repeatable."),
    ] = None,
    probe: Annotated[list[str] | None, typer.Option(help="knn, ridge, logistic or forest. Can be repeated.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with figures and all numbers.")] = None,
    json: Json = False,
) -> None:
    """Predict labels from the vectors of stores, beside baselines."""
    runs = [read.place_from(store, service) for store in stores]
    told = rs.benchmark(runs, label, probes=probe or None, folds=read.folds_from(fold))
    if html is not None:
        told.to_html(html)
    if json:
        show.json_text(told.table.to_dict("records"))
    else:
        show.text(told)


@app.command()
@taking(TimeOptions, ProviderOptions)
def models(
    time: TimeOptions,
    provider: ProviderOptions,
    *,
    for_file: Annotated[
        Path | None,
        typer.Option(
            "--for", help="Raster, folder of rasters, or vector file: list which models can run on it, or why not."
        ),
    ] = None,
    buffer: Annotated[
        float | None, typer.Option(help="Half the side of a square around each point, in metres.")
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="With --for: ask the provider's catalogue for scenes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models: variants, inputs, sizes, licences, and the deviation from the authors' code."""
    from rs_embed_dask.pages.listing import short_rows

    if for_file is not None:
        keywords = read.suitability_keywords(for_file, provider, buffer_m=buffer)
        verdicts = rs.can_run(str(for_file), read.span_if_any(time), search=search, **keywords)
        show.json_text(verdicts.to_dict()) if as_json else show.text(verdicts)
        return
    rows = rs.list_models()
    if as_json:
        show.json_text(rows)
    else:
        show.table(short_rows(rows), title="models (million: parameters; dim: embedding dimension)", ruled=True)


@app.command()
def describe(
    model: Annotated[str, typer.Argument(help="Id or alias of a model.")],
    *,
    as_json: Json = False,
) -> None:
    """Describe a model: its inputs, outputs and licence."""
    page = rs.describe_model(model)
    if as_json:
        show.json_text(page.to_dict())
    else:
        show.text(page)


@app.command()
@taking(CliOptions)
def inspect(
    options: CliOptions,
    *,
    as_json: Json = False,
    png: Annotated[Path | None, typer.Option(help="Also write the input images to this file.")] = None,
) -> None:
    """Read what the first model would see of the first place, and summarise it."""
    from rs_embed_dask.cli import inspect as inputs

    request = read.request_from(options)
    place = read.first_place(request)
    cubes = rs.inspect_input(request.models[0], place, request.span, **request.keywords | {"ids": None})
    bands, frames = inputs.band_rows(cubes), inputs.frame_rows(cubes)
    if as_json:
        show.json_text({"bands": bands, "frames": frames})
    else:
        show.table(bands, title=f"input of {request.models[0].label} at {place}")
        show.table(frames)
    if png is not None:
        inputs.save_picture(cubes, png)


@weights_app.command("fetch")
def weights_fetch(
    model: Annotated[str, typer.Argument(help="Id of a model.")],
    *,
    variant: Annotated[str | None, typer.Option(help="Variant of the model. Default: the model's own.")] = None,
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Accept a non-commercial licence.")] = False,
) -> None:
    """Download and verify a model's weights, so that workers need no network."""
    show.text(rs.fetch_weights(model, variant=variant, accept_licence=accept_licence))


@app.command()
@taking(ProviderOptions, ModelOptions, DoctorOptions)
def doctor(provider: ProviderOptions, models: ModelOptions, options: DoctorOptions, *, as_json: Json = False) -> None:
    """Check a provider or product (host, credentials, search, block), or with -m a model's weights and device."""
    from rs_embed_dask.cli.inspect import check_rows, checks_of, model_checks

    checks = model_checks(read.models_from(models)) if models.model else []
    named = [*models.model, options.product or provider.provider]
    if models.model and options.product is None and provider.provider == "auto":
        named.pop()  # a node that only embeds has no network
    else:
        opened = rs.open_provider(read.provider_from(provider))
        product = None if options.product is None else read.product_from(options, opened)
        checks += checks_of(product or opened, read.trial_from(options), live=options.live)
    if as_json:
        show.json_text(check_rows(checks))
    else:
        title = f"{', '.join(named)}, {'live' if options.live else 'local'}"
        show.table(check_rows(checks), title=title, ruled=True)
    raise typer.Exit(FAILED if any(check.is_well is False for check in checks) else 0)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the store and the picture.")] = Path("demo-out"),
    side: Annotated[int, typer.Option(min=3, max=8, help="Places along each side of the landscape.")] = 8,
) -> None:
    """Run everything on this machine, without a network: a cluster, a landscape, and a run that loses a worker."""
    from rs_embed_dask.demo.run import walk
    from rs_embed_dask.demo.stage import synthetic_stage

    raise typer.Exit(walk(out, synthetic_stage(side)))


def _finish(store: str, storage: dict[str, Any] | None, *, quiet: bool, part: tuple[int, int] | None = None) -> None:
    """Print the summary and how the last run compares with its plan, and exit with the code, of a part with its own."""
    report = rs.status(store, storage_options=storage)
    if not quiet:
        show.status_text(report, None)
        show.against_plan(report.store.receipt)
    raise typer.Exit(show.exit_code(report.counts if part is None else show.part_counts(store, storage, part)))
