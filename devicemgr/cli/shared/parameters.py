"""The arguments and options that several verbs have, and their types."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from ...resource_names import why_not_extended

DEFAULT_ROOT = "/var/lib/kubelet"


class Number(click.IntRange):
    """A whole number; ``--help`` calls it NUMBER."""

    name = "number"


class Seconds(click.FloatRange):
    """A time that ends: neither ``nan`` nor ``inf`` is one, though Python reads them as numbers."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{seconds} is no number of seconds.", param, ctx)
        return seconds


class Directory(click.Path):
    """A directory that may have to be created, and so is never guessed: ``""``, which is an unset variable in a script,
    would be the working directory, and ``~``, which shells leave alone in ``--root-dir=~/node``, one of that name."""

    def __init__(self, *, readable: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=False, readable=readable)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "":
            self.fail("the path is empty; the working directory is .", param, ctx)
        if str(value).startswith("~"):
            self.fail(f"{value}: the shell has not replaced the ~; write $HOME, or ./~ for that name", param, ctx)
        return super().convert(value, param, ctx)


root_dir_option = click.option(
    "--root-dir",
    type=Directory(readable=False),  # if it is not readable, the manager's error says what to do
    default=None,
    help=f"The kubelet's root directory.  [default: {DEFAULT_ROOT}]",
)
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True
)
no_headers_option = click.option("--no-headers", is_flag=True, help="Rows only, without titles and column names.")


def read_pod_name(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, str]:
    """``NAMESPACE/NAME``; the namespace may be left out."""
    namespace, slash, name = value.rpartition("/")
    if not name or (slash and not namespace) or "/" in namespace:
        raise click.BadParameter(f"{value!r}: write NAMESPACE/NAME", ctx, param)
    return namespace or "default", name


def read_resource(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name of an extended resource, if one is given: no other resource can have devices."""
    if value is not None and (problem := why_not_extended(value)):
        raise click.BadParameter(f"{value!r}: {problem}", ctx, param)
    return value


pod_argument = click.argument("pod", metavar="NAMESPACE/NAME", callback=read_pod_name)
uid_option = click.option(
    "--uid",
    is_flag=True,
    help="The argument is a uid: of a pod without a name (a kubelet's), or of one of several of the same name.",
)


def root_of(root_dir: Path | None) -> Path:
    """The root directory: that of the verb, or of the command before it, or the kubelet's."""
    context: click.Context | None = click.get_current_context()
    while root_dir is None and context is not None:
        root_dir, context = context.params.get("root_dir"), context.parent
    return root_dir or Path(DEFAULT_ROOT)


def admin_socket(root_dir: Path | None) -> Path:
    return root_of(root_dir) / "devicemgr" / "admin.sock"
