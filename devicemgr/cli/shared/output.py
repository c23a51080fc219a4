"""The stable JSON shapes, and the tables made of them."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...core.allocation.container_options import as_data
from ...input.yaml_fields import dump
from ...model import (
    HEALTHY,
    Container,
    ContainerStatus,
    EffectiveSettings,
    Pod,
    PodAdmitResult,
    PodStatus,
    ResourceCounts,
    ResourceName,
)
from ...printable import printable


def show(value: Any, output: str, draw: Callable[[Any], None]) -> None:
    """Print plain data as JSON or YAML, or let ``draw`` make tables of it."""
    if output == "json":
        click.echo(json.dumps(value, indent=2))
    elif output == "yaml":
        click.echo(dump(value), nl=False)
    else:
        draw(value)


def plain(text: str) -> str:
    """The same for a console, on which square brackets are markup."""
    return escape(printable(text))


NARROW = 72
"""On a terminal with fewer columns a table is no help, unless it has few columns itself."""
_FEW = 3
MOST_ON_TERMINAL = 500
"""How many devices of one container a table on a terminal shows."""
_ENDLESS = 2**40


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The module standard_output handles it, and not rich."""
        raise


def console() -> Console:
    """Colour on a terminal only; elsewhere wide enough that nothing is cut."""
    found = _Console(highlight=False)
    return found if found.is_terminal else _Console(highlight=False, width=160)


def listing(
    title: str, *columns: str, right: Collection[str] = (), no_wrap: Collection[str] = (), headers: bool = True
) -> Table:
    """A table to be filled. On a terminal long cells are folded, except in the columns ``no_wrap``; elsewhere it has no
    box, and each row is one line, for grep and awk."""
    is_terminal = console().is_terminal
    table = Table(title=title if headers else None, title_justify="left", show_header=headers)
    if not is_terminal:
        table.box, table.pad_edge, table.padding = None, False, (0, 3, 0, 0)
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in no_wrap or not is_terminal,
        )
    return table


def print_listing(*tables: Table) -> None:
    """An empty table is one line. Outside a terminal nothing is cut, however wide it is, and no row is padded."""
    out = console()
    shown = [readable(table, out.width) for table in tables if table.row_count or table.title]
    wide = _Console(highlight=False, width=_ENDLESS)
    with wide.capture() as captured:
        for one in shown:
            (out if out.is_terminal else wide).print(one)
    out.file.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))


def readable(table: Table, width: int) -> Table | str:
    """On a narrow terminal a wide table becomes records, with the column names beside the values."""
    if not table.row_count:
        return f"{table.title}: none"
    if width >= NARROW or len(table.columns) <= _FEW:
        return table
    names = [f"{column.header}: " if column.header and table.show_header else "" for column in table.columns]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    records = ["\n".join(f"{name}{cell}" for name, cell in zip(names, row, strict=True) if cell) for row in rows]
    return "\n\n".join([f"[bold]{table.title}[/bold]"] * bool(table.title) + records)


def print_text(text: str) -> None:
    """Outside a terminal lines are not wrapped."""
    out = console()
    out.print(text, soft_wrap=not out.is_terminal)


def status_data(capacity: Mapping[ResourceName, ResourceCounts], pods: Sequence[PodStatus]) -> dict[str, Any]:
    return {
        "resources": {
            name: dataclasses.asdict(counts) | {"standbys": list(counts.standbys)} for name, counts in capacity.items()
        },
        "pods": [
            {
                "namespace": pod.namespace,
                "name": pod.name,
                "uid": pod.uid,
                "containers": [_container_data(container) for container in pod.containers],
            }
            for pod in pods
        ],
    }


def settings_data(settings: EffectiveSettings) -> dict[str, Any]:
    return {
        "topology": {
            "policy": settings.policy,
            "scope": settings.scope,
            "prefer-closest-numa-nodes": settings.prefer_closest,
        },
        "numa_nodes": list(settings.numa_nodes),
        "gates": dict(settings.gates),
        "peer_limits": dict(settings.peer_limits),
        "node_resources": dict(settings.node_resources),
        "kubernetes_version": settings.kubernetes_version,
    }


def _container_data(container: ContainerStatus) -> dict[str, Any]:
    """``allocatedResourcesStatus`` has the shape it has in a pod's status."""
    return {
        "name": container.name,
        "devices": {resource: list(ids) for resource, ids in container.devices.items()},
        "allocatedResourcesStatus": [
            {
                "name": resource,
                "resources": [{"resourceID": id, "health": health} for id, health in devices.items()],
            }
            for resource, devices in container.health.items()
        ],
    }


def status_parts(data: Mapping[str, Any], *, headers: bool = True) -> tuple[list[Table], list[str]]:
    """Two tables, and nothing to say below them."""
    numbers = ("capacity", "allocatable", "allocated", "available")
    resources = listing("Resources", "resource", *numbers, "endpoint", right=numbers, headers=headers)
    for name, counts in data["resources"].items():
        resources.add_row(plain(name), *(str(counts[key]) for key in numbers), _endpoint(counts))
    pods = listing("Pods", "pod", "container", "resource", "devices", headers=headers)
    names = Counter(map(_pod_name, data["pods"]))
    for pod in data["pods"]:
        name = _pod_name(pod)
        shown = name if names[name] == 1 else f"{name} (uid {pod['uid']})"
        for container in pod["containers"]:
            for held in container["allocatedResourcesStatus"] or [{"name": "", "resources": []}]:
                pods.add_row(
                    plain(shown), plain(container["name"]), plain(held["name"]), devices_cell(held["resources"])
                )
    return [resources, pods], []


def _endpoint(counts: Mapping[str, Any]) -> str:
    """Its state, and how many plug-ins stand by."""
    endpoint, standbys = counts["endpoint"], len(counts["standbys"])
    if endpoint not in ("serving", "node"):
        return f"[red]{endpoint}[/red]"
    return f"{endpoint} ({standbys} {'stands' if standbys == 1 else 'stand'} by)" if standbys else endpoint


def draw_status(data: Mapping[str, Any]) -> None:
    draw_parts(status_parts(data))


def draw_parts(parts: tuple[list[Table], list[str]]) -> None:
    """Tables, and notes below them."""
    tables, notes = parts
    print_listing(*tables)
    for note in notes:
        print_text(note)


def draw_names(data: Mapping[str, Any]) -> None:
    """As with kubectl's ``-o name``: kind and name, one per line."""
    for kind, names in (("resource", data["resources"]), ("pod", map(_pod_name, data["pods"]))):
        for name in names:
            click.echo(f"{kind}/{printable(name)}")


def admission_data(pod: Pod, admission: PodAdmitResult) -> dict[str, Any]:
    if not admission.admitted:
        return {"admitted": False, "reason": admission.reason, "message": admission.message}
    data: dict[str, Any] = {
        "admitted": True,
        "pod": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
        "containers": [
            {
                "name": run.name,
                "devices": {name: list(ids) for name, ids in run.devices.items()},
                **as_data(run.options),
            }
            for run in admission.containers
        ],
    }
    if admission.failed_container:
        data |= {"failed_container": admission.failed_container, "message": admission.message}
    return data


def draw_admission(pod: Pod, data: Mapping[str, Any]) -> None:
    if not data["admitted"]:
        reason, message = plain(data["reason"]), plain(data["message"])
        print_text(f"[red]refused[/red] {plain(pod.full_name)}\n  reason: {reason}\n  message: {message}")
        return
    table = listing(f"admitted {plain(pod.full_name)}", "container", "what", "value")
    started = {container["name"]: container for container in data["containers"]}
    for container in pod.containers:
        rows = _container_rows(container, started.get(container.name))
        for index, (what, value) in enumerate(rows):
            table.add_row(plain(container.name) if index == 0 else "", plain(what), plain(value))
    print_listing(table)
    if "failed_container" in data:
        print_text(f"[red]container {plain(data['failed_container'])} could not start[/red]: {plain(data['message'])}")


def _pod_name(pod: Mapping[str, Any]) -> str:
    return f"{pod['namespace']}/{pod['name']}" if pod["name"] else f"uid {pod['uid']}"


def devices_cell(resources: Sequence[Mapping[str, str]]) -> str:
    """Devices, each with its health unless it is healthy. On a terminal at most MOST_ON_TERMINAL devices: more are not
    readable, and take seconds to fold into lines."""
    shown = resources[:MOST_ON_TERMINAL] if console().is_terminal else resources
    more = [f"… and {len(resources) - len(shown):,} more (-o json has all)"] if len(shown) < len(resources) else []
    return ", ".join([*map(_with_health, shown), *more])


def _with_health(device: Mapping[str, str]) -> str:
    """The id; the health is added unless the device is healthy."""
    id, health = device["resourceID"], device["health"]
    return plain(id) if health == HEALTHY else f"{plain(id)} [red]({plain(health)})[/red]"


def _container_rows(asked: Container, started: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Pairs (what, value); for a resource without a device plug-in, how many are counted."""
    if started is None:
        return [("not started", "")]
    devices = started["devices"]
    rows = [(resource, ", ".join(ids)) for resource, ids in devices.items()]
    rows += [(name, f"{n} (counted)") for name, n in asked.limits.items() if n and name not in devices]
    return [*rows, *answer_rows(started)] or [("devices", "none")]


def answer_rows(container: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs (what, value) of everything in :func:`~devicemgr.core.allocation.container_options.as_data`."""
    rows = [("env", f"{name}={value}") for name, value in container["envs"].items()]
    for mount in container["mounts"]:
        mode = "ro" if mount["read_only"] else "rw"
        rows.append(("mount", f"{mount['host_path']} → {mount['container_path']} ({mode})"))
    for spec in container["device_specs"]:
        rows.append(("device", f"{spec['host_path']} → {spec['container_path']} ({spec['permissions']})"))
    rows += [("annotation", f"{name}={value}") for name, value in container["annotations"].items()]
    rows += [("CDI device", name) for name in container["cdi_devices"]]
    return rows
