"""Scripts for simulated plug-ins: the devices, answers and schedule of a vendor's plug-in, as a YAML file.

:func:`parse_scripts` reads one document per plug-in; :mod:`.script_player` plays them. Names are those of the device
plug-in API, in the spelling of Kubernetes manifests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ...arguments import CheckedFields, Count, Seconds, checked
from ...errors import BadInput
from ...input.yaml_fields import Field, load_documents, nearest
from ...model import HEALTHY, UNHEALTHY, Device, DeviceId, DeviceSpec, Mount, PluginOptions, RunOptions
from ...resource_names import why_not_extended
from ...rpc.deviceplugin.methods import ALLOCATE, GET_PREFERRED_ALLOCATION, METHODS, OPTIONS, Method, unary
from .simulated import MAX_DEVICES, valid_endpoint
from .strategies import STRATEGIES

T = TypeVar("T")


def scriptable_calls(methods: Iterable[Method] = METHODS) -> tuple[str, ...]:
    """The calls whose answers can be scripted; a stream is described by ``devices`` and ``schedule``."""
    return tuple(method.name for method in unary(methods).values())


CALLS = scriptable_calls()
STATUSES = (
    *("CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""The gRPC statuses that an error can have."""
_KEYS = ("resource", "endpoint", "devices", "options", "preferred", "allocate", "calls", "schedule", "repeat")
_PLUGIN = "{resource: vendor.com/gpu, devices: [{count: 4}]}"
_DEVICE = "{count: 4, prefix: gpu}"
_STEP = "{at: 5, unhealthy: [gpu-0]}"
_CALL = "{call: Allocate, error: no memory}"
_IDS = "[gpu-0]"
_ANSWER = "{envs: {GPUS: '{ids}'}}"
_PATHS = "{containerPath: /dev/gpu, hostPath: /dev/null}"
"""Examples, for who has written something else."""
TRIGGERS = ("HUP", "USR1", "USR2")
"""Signals that a step can wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRule(CheckedFields):
    """How to answer a call: wait ``delay`` seconds, then fail with ``error`` and a gRPC ``status``, or never answer, or
    answer.

    The rule applies to ``times`` calls after the first ``skip`` and, with ``devices``, only to calls that ask for one
    of them.
    """

    call: str
    devices: frozenset[str] = frozenset()
    skip: Count = 0
    times: Seconds = math.inf
    delay: Seconds = 0.0
    error: str = ""
    status: str = "UNKNOWN"
    hang: bool = False
    answer: RunOptions | None = None
    ids: tuple[DeviceId, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(CheckedFields):
    """A change: ``at`` seconds after the start, or whenever the signal ``on`` comes."""

    at: Seconds | None = None
    on: str = ""
    health: Mapping[DeviceId, str] = field(default_factory=dict)
    remove: tuple[DeviceId, ...] = ()
    add: tuple[Device, ...] = ()
    end_stream: bool = False
    register: bool = False
    crash: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script(CheckedFields):
    """One plug-in. ``answer`` is the template of Allocate's answers, with ``{id}`` and ``{ids}``; None is the default.

    ``endpoint`` is the file name of its socket, by default a new one at each start. ``repeat`` is the number of seconds
    after which the schedule begins again.
    """

    resource: str
    endpoint: str | None = None
    devices: tuple[Device, ...] = ()
    options: PluginOptions = PluginOptions()
    preferred: str = "first"
    answer: RunOptions | None = None
    calls: tuple[CallRule, ...] = ()
    schedule: tuple[Step, ...] = ()
    repeat: Seconds = math.inf


@checked
def parse_scripts(text: str, *, file: str) -> list[Script]:
    """All plug-ins of a script. Raises BadInput naming file, line and field."""
    documents = load_documents(text, file=file)
    if not documents:
        raise BadInput(f"there is no plug-in: the text is empty. Write for example {_PLUGIN}", file=file)
    scripts: list[Script] = []
    for document in documents:
        script = _script(document)
        for other in scripts:
            if script.resource == other.resource:
                raise document.mapping()["resource"].bad(f"{script.resource} is already served by an earlier document")
            if script.endpoint and script.endpoint == other.endpoint:
                raise document.bad(f"the endpoint {script.endpoint!r} is already that of {other.resource}")
        scripts.append(script)
    return scripts


def _script(document: Field) -> Script:
    top = _mapping_of(document, _PLUGIN, *_KEYS)
    if "resource" not in top:
        raise document.bad("resource is missing, for example vendor.com/gpu")
    resource = top["resource"].text()
    if problem := why_not_extended(resource):
        raise top["resource"].bad(f"{resource!r}: {problem}")
    preferred = _one_of(top.get("preferred"), STRATEGIES, "first")
    devices = _devices(top["devices"]) if "devices" in top else ()
    schedule = _each(top.get("schedule"), _step, f"[{_STEP}]")
    _check_ids(devices, top.get("schedule"), schedule)
    script = Script(
        resource=resource,
        endpoint=_file_name(top["endpoint"]) if "endpoint" in top else None,
        devices=devices,
        options=_options(top.get("options"), preferred="preferred" in top),
        preferred=preferred,
        answer=_answer(top["allocate"]) if "allocate" in top else None,
        calls=_each(top.get("calls"), _call_rule, f"[{_CALL}]"),
        schedule=schedule,
        repeat=_seconds(top["repeat"]) if "repeat" in top else math.inf,
    )
    late = [step.at for step in script.schedule if step.at is not None and step.at >= script.repeat]
    if late:
        raise top["repeat"].bad(f"the schedule has a step at {late[0]:g}, which is never reached")
    return script


# --- devices ---------------------------------------------------------------------------------------


def _devices(field: Field) -> tuple[Device, ...]:
    found: dict[DeviceId, Device] = {}
    for item in field.sequence(like=f"[{_DEVICE}]"):
        for device in _device_group(item):
            if device.id in found:
                raise item.bad(f"there is already a device {device.id!r}")
            found[device.id] = device
    return tuple(found.values())


def _device_group(item: Field) -> list[Device]:
    """One device with its ``id``, or ``count`` of them, ``prefix``-0 …, assigned to the NUMA nodes in turn.

    Without ``numa`` it has no topology; ``[]`` is a topology without nodes, and -1 is sysfs' word for no node.
    """
    keys = _mapping_of(item, _DEVICE, "id", "count", "prefix", "health", "numa")
    if ("id" in keys) == ("count" in keys):
        raise item.bad(f"write either an id, or a count (with a prefix), as in {{id: gpu-0}} or {_DEVICE}")
    health = keys["health"].text() if "health" in keys else HEALTHY
    nodes = tuple(_node(node) for node in keys["numa"].sequence(like="[0, 1]")) if "numa" in keys else None
    if "id" in keys:
        return [Device(id=keys["id"].text(), health=health, numa_nodes=nodes)]
    prefix = keys["prefix"].text() if "prefix" in keys else "dev"
    return [
        Device(
            id=f"{prefix}-{number}",
            health=health,
            numa_nodes=(nodes[number % len(nodes)],) if nodes else nodes,
        )
        for number in range(_device_count(keys["count"]))
    ]


def _check_ids(devices: tuple[Device, ...], field: Field | None, schedule: tuple[Step, ...]) -> None:
    """A step that names a device which never exists is a mistake."""
    known = {device.id for device in devices}.union(*({device.id for device in step.add} for step in schedule))
    for item, step in zip(field.sequence() if field else (), schedule, strict=True):
        if unknown := sorted({*step.health, *step.remove} - known):
            raise item.bad(f"there is no device {unknown[0]!r}")


# --- answers ---------------------------------------------------------------------------------------


def _options(field: Field | None, *, preferred: bool) -> PluginOptions:
    keys = _mapping_of(field, "{preStartRequired: true}", *map(_camel_case, OPTIONS)) if field else {}
    defaults = {GET_PREFERRED_ALLOCATION.option: preferred}
    return PluginOptions(**{name: _flag(keys, _camel_case(name), defaults.get(name, False)) for name in OPTIONS})


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _answer(field: Field) -> RunOptions:
    keys = _mapping_of(field, _ANSWER, "envs", "annotations", "mounts", "devices", "cdiDevices")
    return RunOptions(
        envs=_texts(keys.get("envs"), "{GPUS: '{ids}'}"),
        annotations=_texts(keys.get("annotations"), "{gpus: '{ids}'}"),
        mounts=_each(keys.get("mounts"), _mount, f"[{_PATHS}]"),
        device_specs=_each(keys.get("devices"), _device_spec, f"[{_PATHS}]"),
        cdi_devices=_each(keys.get("cdiDevices"), Field.text, "['vendor.com/gpu={id}']"),
    )


def _mount(item: Field) -> Mount:
    keys = _mapping_of(item, _PATHS, "containerPath", "hostPath", "readOnly")
    return Mount(
        container_path=_text_of(item, keys, "containerPath"),
        host_path=_text_of(item, keys, "hostPath"),
        read_only=_flag(keys, "readOnly"),
    )


def _device_spec(item: Field) -> DeviceSpec:
    keys = _mapping_of(item, _PATHS, "containerPath", "hostPath", "permissions")
    return DeviceSpec(
        container_path=_text_of(item, keys, "containerPath"),
        host_path=_text_of(item, keys, "hostPath"),
        permissions=keys["permissions"].text() if "permissions" in keys else "rw",
    )


def _call_rule(item: Field) -> CallRule:
    which, how = ("call", "devices", "skip", "times"), ("delay", "error", "status", "hang", "answer", "ids")
    keys = _mapping_of(item, _CALL, *which, *how)
    if "call" not in keys:
        raise item.bad(f"call is missing: one of {', '.join(CALLS)}")
    call = _one_of(keys["call"], CALLS, "")
    if "status" in keys and "error" not in keys:
        raise keys["status"].bad(f"is the status of an error, and this rule has none, as {_CALL} has")
    for key, only in (("answer", ALLOCATE.name), ("ids", GET_PREFERRED_ALLOCATION.name)):
        if key in keys and call != only:
            raise keys[key].bad(f"is for {only}, and this rule is for {call}")
    return CallRule(
        call=call,
        devices=frozenset(_ids(keys.get("devices"))),
        skip=_whole_number(keys["skip"]) if "skip" in keys else 0,
        times=_whole_number(keys["times"]) if "times" in keys else math.inf,
        delay=_seconds(keys["delay"]) if "delay" in keys else 0.0,
        error=keys["error"].text() if "error" in keys else "",
        status=_one_of(keys.get("status"), STATUSES, "UNKNOWN"),
        hang=_flag(keys, "hang"),
        answer=_answer(keys["answer"]) if "answer" in keys else None,
        ids=_ids(keys["ids"]) if "ids" in keys else None,
    )


# --- schedule --------------------------------------------------------------------------------------


def _step(item: Field) -> Step:
    happens = ("healthy", "unhealthy", "health", "remove", "add", "endStream", "register", "crash")
    keys = _mapping_of(item, _STEP, "at", "on", *happens)
    if ("at" in keys) == ("on" in keys):
        raise item.bad(f"write either at, in seconds, or on, one of {', '.join(TRIGGERS)}")
    if len(keys) == 1:
        raise item.bad(f"nothing happens in this step, as in {_STEP}")
    health = _texts(keys.get("health"), "{gpu-0: Unhealthy}")
    for key, value in (("healthy", HEALTHY), ("unhealthy", UNHEALTHY)):
        health |= dict.fromkeys(_ids(keys.get(key)), value)
    return Step(
        at=_seconds(keys["at"]) if "at" in keys else None,
        on=_one_of(keys.get("on"), TRIGGERS, ""),
        health=health,
        remove=_ids(keys.get("remove")),
        add=_devices(keys["add"]) if "add" in keys else (),
        end_stream=_flag(keys, "endStream"),
        register=_flag(keys, "register"),
        crash=_flag(keys, "crash"),
    )


# --- readers of one field --------------------------------------------------------------------------


def _mapping_of(field: Field, like: str, *names: str) -> dict[str, Field]:
    keys = field.mapping(like=like)
    for name, value in keys.items():
        if name not in names:
            raise value.bad(f"is not known here; there are {', '.join(names)}{nearest(name, names)}")
    return keys


def _device_count(field: Field) -> int:
    if (count := _whole_number(field)) > MAX_DEVICES:
        raise field.bad(f"must be at most {MAX_DEVICES}: a list of more is larger than any manager takes")
    return count


def _each(field: Field | None, read: Callable[[Field], T], like: str) -> tuple[T, ...]:
    return tuple(read(item) for item in field.sequence(like=like)) if field else ()


def _ids(field: Field | None) -> tuple[DeviceId, ...]:
    return _each(field, Field.text, _IDS)


def _texts(field: Field | None, like: str) -> dict[str, str]:
    return {name: value.text() for name, value in field.mapping(like=like).items()} if field else {}


def _text_of(item: Field, keys: Mapping[str, Field], name: str) -> str:
    if name not in keys:
        raise item.bad(f"{name} is missing, as {_PATHS} has it")
    return keys[name].text()


def _flag(keys: Mapping[str, Field], name: str, default: bool = False) -> bool:
    return keys[name].boolean() if name in keys else default


def _file_name(field: Field) -> str:
    try:
        return valid_endpoint(field.text())
    except ValueError as error:
        raise field.bad(str(error)) from error


def _one_of(field: Field | None, choices: Any, default: str) -> str:
    if field is None:
        return default
    text = field.text()
    if text not in choices:
        raise field.bad(f"must be one of {', '.join(choices)}, not {text!r}")
    return text


def _whole_number(field: Field) -> int:
    text = field.text()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise field.bad(f"must be a whole number that is not negative, not {text!r}")
    return int(text)


def _node(field: Field) -> int:
    return -1 if field.text() == "-1" else _whole_number(field)


def _seconds(field: Field) -> float:
    try:
        seconds = float(field.text())
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise field.bad(f"must be a number of seconds such as 0.5, not {field.text()!r}")
    return seconds
