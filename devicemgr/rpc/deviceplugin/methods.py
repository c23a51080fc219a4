"""The table of the methods of the device plug-in API, one row each. Everything else about a method is derived from it.

A row gives the call itself (``PluginClient.call``), its deadline (:class:`Deadlines` and ``--deadline``), its faults
(``manager.faults`` and the verb ``fault``), the rules that a plug-in's script can have for it, and the option with
which a plug-in asks for it. To add an RPC, add a row here and its messages in ``proto/``; what the manager does with
the response is written where the manager does it.

A row names its messages, and a call looks them up in ``stubs.v1beta1``: so ``--help`` need not import gRPC.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING, Any

from ...arguments import CheckedFields, Seconds

SERVICE = "v1beta1.DevicePlugin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method of the service DevicePlugin. ``request`` and ``response`` are names of messages.

    ``short_name`` is its name in options and faults. ``deadline`` is the default, in seconds (API-9); a stream has
    neither. ``option`` is the field of DevicePluginOptions with which a plug-in asks for the call; a method without one
    is always called (REG-8). ``keeps_bytes``: the client returns the response as bytes, not decoded.
    """

    name: str
    request: str
    response: str
    short_name: str = ""
    deadline: float | None = None
    option: str = ""
    keeps_bytes: bool = False

    @property
    def path(self) -> str:
        """The HTTP/2 path of the call."""
        return f"/{SERVICE}/{self.name}"

    @property
    def field(self) -> str:
        """The field of :class:`Deadlines`."""
        return self.short_name.replace("-", "_")


GET_OPTIONS = Method(
    name="GetDevicePluginOptions",
    request="Empty",
    response="DevicePluginOptions",
    short_name="options",
    deadline=10.0,
)
LIST_AND_WATCH = Method(name="ListAndWatch", request="Empty", response="ListAndWatchResponse")
GET_PREFERRED_ALLOCATION = Method(
    name="GetPreferredAllocation",
    request="PreferredAllocationRequest",
    response="PreferredAllocationResponse",
    short_name="preferred-allocation",
    deadline=30.0,
    option="get_preferred_allocation_available",
)
ALLOCATE = Method(
    name="Allocate",
    request="AllocateRequest",
    response="AllocateResponse",
    short_name="allocate",
    deadline=60.0,
    keeps_bytes=True,  # for the checkpoint (CKPT-3)
)
PRE_START_CONTAINER = Method(
    name="PreStartContainer",
    request="PreStartContainerRequest",
    response="PreStartContainerResponse",
    short_name="pre-start",
    deadline=30.0,
    option="pre_start_required",
)

METHODS = (GET_OPTIONS, LIST_AND_WATCH, GET_PREFERRED_ALLOCATION, ALLOCATE, PRE_START_CONTAINER)

OPTIONS = tuple(method.option for method in METHODS if method.option)
"""The fields of DevicePluginOptions."""

DIAL_DEADLINE = 10.0
"""Seconds to connect to a plug-in's socket; the kubelet's value."""


def unary(methods: Iterable[Method] = METHODS) -> dict[str, Method]:
    """The unary methods by short name: those that have a deadline, and can be delayed or fail."""
    return {method.short_name: method for method in methods if method.deadline is not None}


def deadlines_type(methods: Iterable[Method]) -> type[Any]:
    """A dataclass with a number of seconds for dialling, and for each unary method."""
    seconds = {"dial": DIAL_DEADLINE} | {one.field: one.deadline for one in unary(methods).values()}
    return make_dataclass(
        "Deadlines",
        [(name, "Seconds", usual) for name, usual in seconds.items()],
        bases=(CheckedFields,),
        namespace={
            "__doc__": "Seconds a plug-in has for each call. The kubelet limits only ``dial`` and ``pre_start`` "
            f"(API-9).\n\nFields, with their defaults: {', '.join(f'{name} {s:g}' for name, s in seconds.items())}.",
            "__module__": __name__,
        },
        frozen=True,
        slots=True,
        kw_only=True,
    )


if TYPE_CHECKING:

    @dataclass(init=False)
    class Deadlines(CheckedFields):
        """For type checkers: every field is a number of seconds."""

        dial: Seconds

        def __init__(self, **seconds: Seconds) -> None: ...
        def __getattr__(self, name: str) -> float: ...

else:
    Deadlines = deadlines_type(METHODS)


def deadlines_help(methods: Iterable[Method] = METHODS) -> str:
    """The names that ``--deadline`` takes, each with its default."""
    usual = {"dial": DIAL_DEADLINE} | {name: method.deadline for name, method in unary(methods).items()}
    return ", ".join(f"{name} ({seconds:g})" for name, seconds in usual.items())
