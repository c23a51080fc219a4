"""The daemon's options: one for each field of its settings that has an option.

What an option takes follows from the type of the field. A new setting of a known type needs nothing here.
"""

from __future__ import annotations

import grp
import re
from collections.abc import Callable
from dataclasses import Field, asdict, fields
from functools import cache
from typing import Any, get_type_hints

import click

from ... import arguments
from ...daemon.access.callers import Callers
from ...daemon.settings import Settings, option_of
from ...kubernetes_versions import VERSIONS, KubernetesVersion
from ...model import ResourceName
from ...node_resources import NodeResources, node_resource
from ...peer_limits import PeerLimits
from ...rpc.deviceplugin.methods import Deadlines
from ..shared.parameters import Seconds

_MAX_GROUP_ID = 2**32 - 2
"""The next number means no group."""


@cache
def settings_options(settings: type[Any] = Settings) -> tuple[click.Option, ...]:
    """The options, whose values a command gets under the names of the fields."""
    types = get_type_hints(settings, include_extras=True)
    return tuple(
        click.Option(
            [option.name, field.name], **_KINDS[types[field.name]](field), metavar=option.metavar, help=option.help
        )
        for field in fields(settings)
        if (option := option_of(field)) is not None
    )


def parse_deadlines(texts: tuple[str, ...], into: type[Deadlines] = Deadlines) -> Deadlines:
    """``allocate=5`` → Deadlines(allocate=5.0). Raises click.BadParameter."""
    return into(**_numbers(texts, into, "CALL=SECONDS"))


def parse_peer_limits(texts: tuple[str, ...]) -> PeerLimits:
    """``report-rate=5`` → PeerLimits(report_rate=5.0). Raises click.BadParameter."""
    numbers = _numbers(texts, PeerLimits, "NAME=NUMBER")
    try:
        return PeerLimits(**numbers)
    except ValueError as error:
        raise click.BadParameter(re.sub("[a-z]+(_[a-z]+)+", lambda n: n[0].replace("_", "-"), str(error))) from None


def parse_node_resources(texts: tuple[str, ...]) -> dict[ResourceName, int]:
    """``nvidia.com/gpumem=16Gi`` → {"nvidia.com/gpumem": 17179869184}; the last of a name counts.

    Raises click.BadParameter.
    """
    found: dict[ResourceName, int] = {}
    for text in texts:
        name, equals, count = text.partition("=")
        try:
            if not equals:
                raise ValueError(f"{text!r}: write NAME=COUNT")
            found[name] = node_resource(name, count)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return found


def parse_group(name: str | None) -> Callers:
    """The default callers, and the members of a group that is given by name or number. Raises click.BadParameter."""
    if name is None:
        return Callers.default()
    try:
        if not (name.isascii() and name.isdecimal()):
            return Callers.default(grp.getgrnam(name).gr_gid)
    except KeyError:
        raise click.BadParameter(f"there is no group {name!r}") from None
    if len(name) > 10 or int(name) > _MAX_GROUP_ID:
        raise click.BadParameter(f"{name[:20]}: a group's number is at most {_MAX_GROUP_ID}")
    return Callers.default(int(name))


def parse_address(text: str | None) -> tuple[str, int] | None:
    """``127.0.0.1:9400`` or ``[::1]:9400``; the host of ``:9400`` is empty. Raises click.BadParameter."""
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    if not colon or not is_port or host.startswith("[") != host.endswith("]"):
        raise click.BadParameter(f"{text!r}: write HOST:PORT or :PORT, with a port of at most 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _numbers(texts: tuple[str, ...], into: type[PeerLimits | Deadlines], form: str) -> dict[str, Any]:
    """``name=number`` for the fields of a dataclass; whole numbers where a field's default is one.

    A name may also be written as events have it, ``report_rate``.
    """
    defaults = asdict(into())
    names = {name.replace("_", "-"): name for name in defaults}
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        name = name.replace("_", "-")
        if not equals or name not in names:
            from ...input.yaml_fields import nearest  # not for --help

            what, hint = form.partition("=")[0], "" if name in names else nearest(name, names)
            raise click.BadParameter(f"{text!r:.100}: write {form}, with {what} one of {', '.join(names)}{hint}")
        kind = type(defaults[names[name]])
        try:
            value = kind(number)
        except ValueError:
            value = -1
        if not 0 < value < float("inf"):
            wanted = "whole number" if kind is int else "number"
            raise click.BadParameter(f"{text!r:.100}: must be a {wanted} of more than 0")
        values[names[name]] = value
    return values


def _parsed(parse: Callable[[Any], Any], *, multiple: bool = False) -> Callable[[Field[Any]], dict[str, Any]]:
    return lambda field: {"multiple": multiple, "callback": lambda ctx, param, given: parse(given)}


_KINDS: dict[Any, Callable[[Field[Any]], dict[str, Any]]] = {
    bool: lambda field: {"is_flag": True, "default": field.default},
    arguments.Seconds: lambda field: {"type": Seconds(0), "default": field.default, "show_default": True},
    KubernetesVersion: lambda field: {"type": click.Choice(VERSIONS), "default": field.default, "show_default": True},
    Deadlines: _parsed(parse_deadlines, multiple=True),
    PeerLimits: _parsed(parse_peer_limits, multiple=True),
    Callers: _parsed(parse_group),
    NodeResources: _parsed(parse_node_resources, multiple=True),
    tuple[str, arguments.Port] | None: _parsed(parse_address),
}
"""The arguments of click for an option, by the type of its field."""
