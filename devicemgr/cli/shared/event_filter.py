"""Which events are shown: about one pod or resource, since when, of which types, and none of them twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import click

from ... import events
from ...daemon.event_log import MAX_EVENTS
from ...input.yaml_fields import nearest
from ...rpc.admin.client import ManagerClient
from .parameters import read_pod_name

_TYPES = [name for name in events.__all__ if getattr(getattr(events, name), "is_remembered", False) and name != "Event"]
_UNITS = {"h": 3600, "m": 60, "s": 1}


@dataclass(slots=True, kw_only=True)
class EventFilter:
    """An event must contain one of the words ``about``; if that is empty, any event matches.

    Events about a ``pod`` (namespace, name) may have only its uid, so the uid is added as soon as it is known.
    """

    since: float
    types: Collection[str]
    about: set[str]
    pod: tuple[str, str] | None

    async def prepare(self, client: ManagerClient) -> None:
        """Ask for the pod's uid, which earlier events have instead of the name."""
        if self.pod is not None:
            explanation = await client.explain(*self.pod)
            _, pods, _ = await client.status()
            self.about |= {pod.uid for pod in pods if (pod.namespace, pod.name) == self.pod}
            self.about |= {explanation["uid"]} if explanation else set()

    def wants(self, event: dict[str, Any]) -> bool:
        if self.pod is not None and (event.get("namespace"), event.get("name")) == self.pod:
            self.about.add(event["uid"])
        return (
            event["time"] >= self.since
            and (not self.types or event["event"] in self.types)
            and (not self.about or any(_has(value, self.about) for value in event.values()))
        )


class Unseen:
    """Passes on the events that it has not passed on before: a manager that has restarted still has the earlier ones,
    with the same numbers and times."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._on_event = on_event
        self._seen: dict[tuple[int, float], None] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        which = event["sequence"], event["time"]
        if which in self._seen:
            return
        self._seen[which] = None
        if len(self._seen) > MAX_EVENTS:
            del self._seen[next(iter(self._seen))]
        self._on_event(event)


def _has(value: Any, words: Collection[str]) -> bool:
    return (
        value in words if isinstance(value, str) else isinstance(value, list | dict) and any(w in value for w in words)
    )


def read_since(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Seconds of ``90s``, ``5m``, ``1h30m``, as kubectl writes them."""
    if text is None:
        return None
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+", text):
        raise click.BadParameter(f"{text!r}: write a time as 90s, 5m or 1h30m", ctx, param)
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


def read_types(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Names of events; several options, each of which may be several names separated by commas."""
    types = [name for value in values for name in value.split(",") if name]
    for name in types:
        if name not in _TYPES:
            hint = nearest(name, _TYPES, cutoff=0.6) or f"; there are {', '.join(_TYPES)}"
            raise click.BadParameter(f"there are no events {name!r}{hint}", ctx, param)
    return types


def read_about(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, str] | str | None:
    """The namespace and name of ``pod/NAME`` or ``pod/NAMESPACE/NAME``; anything else is a resource."""
    if text is None:
        return None
    kind, slash, pod = text.partition("/")
    if not slash:
        raise click.BadParameter(f"{text!r}: write pod/NAME, or a resource as vendor.com/gpu", ctx, param)
    return read_pod_name(ctx, param, pod) if kind in ("pod", "pods") else text
