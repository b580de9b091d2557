"""Commands of Dask and of this package, as files and pages show them: their options exist and their values parse."""

from __future__ import annotations

import click
from distributed.cli import dask_scheduler, dask_worker
from typer.main import get_command

from rs_embed_dask.cli.app import app


def check_command(words):
    """Refuse a word that looks like an option and is none, which `dask worker` would hand to its preloads."""
    name, verb, *rest = words
    if name == "dask":
        command = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[verb]
    else:
        assert name == "rs-embed-dask"
        command = get_command(app).commands[verb]
        if hasattr(command, "commands"):  # such as `weights fetch`
            command, rest = command.commands[rest[0]], rest[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in rest if word.startswith("-")}
    assert used <= options, f"{verb}: {used - options}"


def values_of(words):
    """The values of the options of a command of Dask."""
    check_command(words)
    command = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[words[1]]
    values, rest, _ = command.make_parser(click.Context(command)).parse_args(args=list(words[2:]))
    assert rest == []
    return values
