"""The options of ``check`` from a file; those of the command line take precedence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click

from ...errors import BadInput
from ...input.yaml_fields import nearest
from ..shared.input_file import read_input

_NOT_THERE = {"config", "list", "explain", "sequence"}


def config_option(command: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--config",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_use,
        help="TOML with these options by name; the command is a list, command.  "
        "[default: the table tool.devicemgr.check of pyproject.toml]",
    )(command)


def _use(ctx: click.Context, param: click.Parameter, given: Path | None) -> None:
    """Raises BadInput."""
    path = given or Path("pyproject.toml")
    if given is None and not path.is_file():
        return
    params = {name: one for one in ctx.command.params if (name := _name(one)) not in _NOT_THERE}
    options = _options(path, set(params))
    for name, value in options.items():
        _check(ctx, params[name], value, file=str(path), key=name)
    ctx.default_map = {params[name].name: value for name, value in options.items()}


def _name(param: click.Parameter) -> str:
    return "command" if isinstance(param, click.Argument) else max(param.opts, key=len).lstrip("-")


def _options(path: Path, known: set[str]) -> dict[str, Any]:
    try:
        options: Any = tomllib.loads(read_input(path))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"cannot be read: {error}", file=str(path)) from error
    for table in ("tool", "devicemgr", "check") if path.name == "pyproject.toml" else ():
        options = options.get(table, {})
        if not isinstance(options, dict):
            raise BadInput("must be a table", file=str(path), field=table)
    for name in options:
        if name not in known:
            near = nearest(name, known, cutoff=0.6) or f"; there are {', '.join(sorted(known))}"
            raise BadInput(f"there is no such option{near}", file=str(path), field=name)
    return dict(options)


def _check(ctx: click.Context, param: click.Parameter, value: Any, *, file: str, key: str) -> None:
    types, words = _kind(param)
    if type(value) not in types or (type(value) is list and not all(type(one) is str for one in value)):
        raise BadInput(f"must be {words}, not {value!r}", file=file, field=key)
    try:
        param.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise BadInput(error.message, file=file, field=key) from error


def _kind(param: click.Parameter) -> tuple[tuple[type, ...], str]:
    if isinstance(param, click.Option) and param.is_flag:
        return (bool,), "true or false"
    if param.multiple or param.nargs == -1:
        return (list,), "a list of texts"
    match param.type:
        case click.IntRange():
            return (int,), "a whole number"
        case click.FloatRange():
            return (int, float), "a number"
        case _:
            return (str,), "a text"
