"""What is fuzzed: each target takes any bytes, and must make a value of them, or an error of ours that names the place.

Whatever else it raises is a bug, and so is a value whose fields are not of the types they should be. The stored corpus
is in ``corpus/TARGET/``; a file there is run by every test run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import UnionType
from typing import NewType, Union, get_args, get_origin, get_type_hints

from devicemgr.concurrency.steps import run_steps
from devicemgr.core.allocation.container_options import suspicious_texts
from devicemgr.core.checkpoint.any_format import parse_any_checkpoint
from devicemgr.core.checkpoint.kubelet_format import canonical_text, checksum_of, parse_checkpoint, render
from devicemgr.core.checkpoint.own_section import load_snapshot
from devicemgr.core.devices.store import DeviceStore
from devicemgr.daemon.checkpoint.writer import parse_saved
from devicemgr.errors import BadInput, CorruptCheckpoint, RpcFailed
from devicemgr.input.manifest import parse_pods
from devicemgr.rpc.admin import convert as admin_convert
from devicemgr.rpc.deviceplugin import convert
from devicemgr.rpc.deviceplugin.device_list import DeviceListDecoder
from devicemgr.rpc.messages import checked, parsed
from devicemgr.rpc.pluginregistration import info_from_wire
from devicemgr.rpc.stubs import pluginregistration as found
from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.stubs.devicemgr import v1 as admin
from tests.helpers import parse_node_config

from .http2 import ANSWER, CALL, PREFACE, feed_client, feed_server, frame

CORPUS = Path(__file__).parent / "corpus"
TARGETS = {}
BASE = bytes(
    wire.ListAndWatchResponse(
        devices=[
            wire.Device(id=f"gpu-{n}", health="Healthy", topology=wire.TopologyInfo(nodes=[wire.NumaNode(id=n % 2)]))
            for n in range(5)
        ]
    )
)


def target(function):
    TARGETS[function.__name__] = function
    return function


@target
def device_list(data: bytes) -> None:
    """The incremental decoder equals betterproto2's own parse: first, after another list, and before one."""
    decoder = DeviceListDecoder()
    for raw in (data, BASE, data, data[: len(data) // 2], data):
        assert value_of(lambda raw: run_steps(decoder.decoding(raw)), raw, part="devices") == value_of(_plainly, raw)


def _plainly(raw: bytes):
    return [checked(convert.device_from_wire, one) for one in parsed(wire.ListAndWatchResponse, raw).devices]


def value_of(make, data, *, part=""):
    """What it makes of the data, or the fact that they were refused."""
    try:
        value = make(data)
        return getattr(value, part) if part else value
    except RpcFailed:
        return "refused"


def _saved(text: str) -> None:
    """A checkpoint that is believed can be used, and is written as it was read."""
    saved = parse_saved(text)
    loaded = load_snapshot(saved, convert.answer_from_bytes)
    DeviceStore().restore(loaded.snapshot, now=0.0)
    assert parse_checkpoint(render(saved.checkpoint)).entries == saved.checkpoint.entries


@target
def checkpoint(data: bytes) -> None:
    """Any text."""
    with suppress(CorruptCheckpoint, UnicodeDecodeError):
        _saved(data.decode())


@target
def any_checkpoint(data: bytes) -> None:
    """Whatever somebody wants to read: all that the manager believes, and the older layouts."""
    with suppress(CorruptCheckpoint, UnicodeDecodeError):
        check_types(parse_any_checkpoint(data.decode()).checkpoint.entries)
    with suppress(CorruptCheckpoint, UnicodeDecodeError):
        believed = parse_checkpoint(data.decode())
        found = parse_any_checkpoint(data.decode())
        assert (found.checksum, found.checkpoint.entries) == ("ok", believed.entries)


@target
def checkpoint_data(data: bytes) -> None:
    """Any JSON, with the checksum that goes with it: somebody who can compute it is no better than a flipped bit."""
    try:
        value = json.loads(data)
        section = value.pop("DeviceManager", None) if isinstance(value, dict) else None
        canonical = canonical_text(value)
    except (ValueError, RecursionError, CorruptCheckpoint):
        return
    top = {"Data": value, "Checksum": checksum_of(canonical)}
    if section is not None:
        top["DeviceManager"] = section
    with suppress(CorruptCheckpoint):
        _saved(json.dumps(top))


@target
def node_config(data: bytes) -> None:
    _named(data, lambda text: parse_node_config(text, file="FILE"))


@target
def manifest(data: bytes) -> None:
    _named(data, lambda text: parse_pods(text, file="FILE"))


def _named(data: bytes, parse) -> None:
    with suppress(UnicodeDecodeError):
        text = data.decode()
        try:
            check_types(parse(text))
        except BadInput as error:
            if not str(error).startswith("FILE"):
                raise


_WIRE = [
    (wire.RegisterRequest, convert.registration_from_wire),
    (wire.DevicePluginOptions, convert.options_from_wire),
    (wire.PreferredAllocationResponse, convert.first_preference),
    (found.PluginInfo, info_from_wire),
    (admin.InjectFaultRequest, admin_convert.fault_from_wire),
    (admin.AdmitRequest, lambda message: admin_convert.pod_from_wire(message.pod)),
]


@target
def messages(data: bytes) -> None:
    """Every message that comes from outside."""
    for kind, from_wire in _WIRE:
        message = value_of(partial(parsed, kind), data)
        if message != "refused":
            check_types(value_of(partial(checked, from_wire), message))


@target
def http2(data: bytes) -> None:
    """A server's connection, from its first byte on and behind a proper beginning, whole and in two pieces."""
    feed_server(data)
    feed_server(PREFACE + frame(4, 0, 0, b"") + data)
    feed_server(PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, CALL), data[: len(data) // 2], data[len(data) // 2 :])


@target
def http2_client(data: bytes) -> None:
    """A client's connection with two calls, before their answers have begun and after."""
    feed_client(data)
    begun = frame(4, 0, 0, b"") + frame(1, 4, 1, ANSWER) + frame(1, 4, 3, ANSWER)
    feed_client(begun, data[: len(data) // 2], data[len(data) // 2 :])


@target
def answer(data: bytes) -> None:
    """An Allocate answer is stored as bytes, and read again; what is odd about it is told."""
    value_of(convert.answers_from_bytes, data)
    options = convert.answer_from_bytes(data)
    if options is not None:
        assert convert.answer_from_bytes(convert.answer_to_bytes(options)) == options
        assert all(isinstance(text, str) for text in suspicious_texts(options))


def check_types(value, hint=object) -> None:
    """Raises AssertionError when something in a value is of another type than its annotation says."""
    if isinstance(hint, NewType):
        return check_types(value, hint.__supertype__)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        assert any(_fits(value, one) for one in inner), (value, hint)
        return None
    if isinstance(hint, type):
        assert isinstance(value, hint), (value, hint)
    if is_dataclass(value):
        hints = get_type_hints(type(value))
        for field in fields(value):
            check_types(getattr(value, field.name), hints[field.name])
    elif isinstance(value, Mapping):
        for key, one in value.items():
            check_types(key, inner[0] if inner else object)
            check_types(one, inner[1] if inner else object)
    elif isinstance(value, (tuple, list, frozenset)):
        for one in value:
            check_types(one, inner[0] if inner else object)
    return None


def _fits(value, hint) -> bool:
    try:
        check_types(value, hint)
    except AssertionError:
        return False
    return True


def stored(name: str) -> list[Path]:
    """The corpus of a target."""
    return sorted((CORPUS / name).glob("*"))
