"""Plug-ins that hang up, or say that they will, at every moment; and callers that do not wait for their answer.

What the kubelet has of this is a dial per registration: nothing connects to a plug-in again until it registers anew.
"""

from __future__ import annotations

import itertools
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from devicemgr.rpc.stubs import v1beta1 as messages
from tests.processes import running

from .honest import Honest, Shared, open_honest
from .wire import ALLOCATED, Call, Client, Plugin, lists, message

RESOURCE = "hostile.example/hangs-up"
ROUNDS = 12
"""Admissions, each after another registration."""
ABANDONED = 30
DEADLINES = [f"--deadline={name}=10" for name in ("options", "preferred-allocation", "allocate", "pre-start")]
OPTIONS = (
    "--peer-limit=registration-rate=1000",
    "--peer-limit=registration-burst=1000",
    "--peer-limit=time-share=1",
    *DEADLINES,
)
"""Here it is not about how much: the plug-in and its honest neighbour are one process."""
FAILURE = re.compile(
    r"code = Unavailable desc = (the peer closed the connection|the connection was lost|process \d+ no longer serves)"
    f"|endpoint hangs-up.sock of {RESOURCE} has been stopped"
    f"|devices of {RESOURCE} went away while the plug-in was asked"
)
"""That it has gone."""
NO_DEVICES = re.compile(
    f"Node didn't have enough resource: {RESOURCE},"
    f"|no healthy devices present; cannot allocate unhealthy devices {RESOURCE},"
    f"|resource {RESOURCE} is not known to this node"
)
"""That the node has none, never had any, or has none any more."""
LATE = "was not answered within"
BUG = "the manager failed"


# --- how -------------------------------------------------------------------------------------------------------


def closes(one: Call) -> None:
    one.wire.hang_up()


def goes_away(one: Call) -> None:
    """No new calls; those that were made are answered still, in theory."""
    one.wire.go_away(one.stream)


def goes_away_from_all(one: Call) -> None:
    """What was asked is not answered either."""
    one.wire.go_away(0)


def goes_away_and_closes(one: Call) -> None:
    one.wire.go_away(one.stream)
    one.wire.hang_up()


MANNERS = [closes, goes_away, goes_away_from_all, goes_away_and_closes]


# --- when ------------------------------------------------------------------------------------------------------


def _after(answer: Callable[[Call], None], end: Callable[[Call], None]) -> Callable[[Call], None]:
    def handler(one: Call) -> None:
        answer(one)
        end(one)

    return handler


def _options(one: Call) -> None:
    wanted = messages.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)
    one.answer(bytes(wanted))


MOMENTS: dict[str, tuple[str, Callable[[Call], None]]] = {
    "during-options": ("GetDevicePluginOptions", lambda one: None),
    "after-options": ("GetDevicePluginOptions", _options),
    "before-the-first-list": ("ListAndWatch", lambda one: None),
    "after-the-first-list": ("ListAndWatch", lists),
    "in-the-middle-of-a-list": ("ListAndWatch", lambda one: (one.begin(), one.data(message(b"x", length=9)))),
    "during-preferred-allocation": ("GetPreferredAllocation", lambda one: None),
    "after-preferred-allocation": ("GetPreferredAllocation", lambda one: one.answer()),
    "during-allocate": ("Allocate", lambda one: None),
    "after-allocate": ("Allocate", lambda one: one.answer(ALLOCATED)),
    "during-pre-start": ("PreStartContainer", lambda one: None),
    "after-pre-start": ("PreStartContainer", lambda one: one.answer()),
}
WHILE_IT_IS_ASKED = ("during-preferred-allocation", "during-allocate", "during-pre-start")
BEFORE_IT_SERVES = ("during-options", "after-options", "before-the-first-list", "in-the-middle-of-a-list")


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    one = Shared(*OPTIONS)
    yield one
    one.close()


@pytest.fixture
def honest() -> Iterator[Honest]:
    with open_honest(*OPTIONS) as one:
        yield one


def serving(honest: Honest, **handlers: Callable[[Call], object]) -> Plugin:
    path = honest.daemon.root / "device-plugins" / "hangs-up.sock"
    return Plugin(path, wants_start=True, wants_advice=True, **handlers)


def try_to_register(honest: Honest) -> bool:
    try:
        honest.client.register(RESOURCE, "hangs-up.sock")
    except grpc.RpcError as error:
        refusal = error.details()
    else:
        return True
    honest.lives()
    assert BUG not in refusal
    assert LATE not in refusal, "it hung up, so there was nothing to wait for"
    return False


def has_devices(honest: Honest) -> bool:
    status = honest.status(RESOURCE)
    return status is not None and status.endpoint == "serving" and status.allocatable > 0


def wait_for_the_list(honest: Honest, moment: str) -> None:
    """A plug-in that hangs up right after its list may be gone before anybody sees that it has served."""
    if moment not in (*BEFORE_IT_SERVES, "after-the-first-list"):
        honest.wait_until(lambda: has_devices(honest), f"{RESOURCE} does not serve")


def check_told(honest: Honest, name: str, moment: str, *, serves_on: bool) -> None:
    """The pod is admitted and started, or the reason is the plug-in's failure.

    One that ``serves_on`` has said GOAWAY: its open streams go on, and it may be dialled again for a call.
    """
    answer = honest.admit(name, RESOURCE, start=True)
    if answer.admitted:
        honest.client.remove(name)
    if not answer.admitted or answer.failed_container:
        assert BUG not in answer.message
        assert LATE not in answer.message, "it hung up, so there was nothing to wait for"
        told = [FAILURE] if moment in WHILE_IT_IS_ASKED else [FAILURE, NO_DEVICES]
        assert any(one.search(answer.message) for one in told), answer.message
    else:
        assert serves_on or moment in ("after-allocate", "after-pre-start"), "it was started, and its plug-in had gone"


CASES = [
    (moment, manner)
    for moment in MOMENTS
    for manner in MANNERS
    if not (moment.startswith(("during", "in-the-middle")) and manner is goes_away)  # that is merely not to answer
]


@pytest.mark.parametrize(("moment", "manner"), CASES, ids=[f"{moment}-{how.__name__}" for moment, how in CASES])
def test_a_plugin_that_hangs_up_harms_only_its_own_pods(shared, moment, manner):
    method, answer = MOMENTS[moment]
    with shared.lent() as honest:
        plugin = serving(honest, **{method: _after(answer, manner)})
        try:
            for number in range(ROUNDS):
                if try_to_register(honest):
                    wait_for_the_list(honest, moment)
                check_told(honest, f"{moment}-{number}", moment, serves_on=manner in (goes_away, goes_away_from_all))
                honest.admits()
                honest.lives()
        finally:
            plugin.close()


# --- a socket that changes hands --------------------------------------------------------------------------------

COUNTER = """
import os, select, socket, sys
listeners = []
for path in sys.argv[2:]:
    listeners.append(socket.socket(socket.AF_UNIX))
    listeners[-1].bind(path)
if sys.argv[1] == "stranger":
    os.setuid(65534)
for listener in listeners:
    listener.listen()  # whose credentials the kernel notes now
print("listening", flush=True)
kept = []
while True:
    for listener in select.select(listeners, [], [])[0]:
        kept.append(listener.accept())
        print("accepted", flush=True)
"""
"""Somebody else's sockets; says so each time that anybody connects."""
QUIET = 1.0
"""Seconds for which nobody connects."""
SWAPS = 8


@pytest.fixture(params=["another-process", "stranger"])
def elsewhere(request, honest) -> Iterator[tuple[subprocess.Popen, list[Path]]]:
    if request.param == "stranger" and os.geteuid() != 0:
        pytest.skip("only root can start a program as somebody else")
    paths = [honest.daemon.root / "device-plugins" / f"elsewhere-{number}.sock" for number in range(SWAPS)]
    command = [sys.executable, "-c", COUNTER, request.param, *paths]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "listening\n"
        yield process, paths


def swap_socket(honest: Honest, moment: str, other: Path) -> None:
    """At that moment the plug-in's socket becomes the other one, and its connection ends."""
    method, answer = MOMENTS[moment]

    def swapped(one: Call) -> None:
        answer(one)
        os.replace(other, one.plugin.path)
        one.wire.hang_up()

    plugin = serving(honest, **{method: swapped})
    try:
        if try_to_register(honest):
            wait_for_the_list(honest, moment)
        for number in range(2):  # which may want to call the plug-in
            honest.admit(f"{other.stem}-{number}", RESOURCE, start=True)
    finally:
        plugin.close()


@pytest.mark.parametrize("moment", ["after-options", "after-the-first-list", "during-allocate"])
def test_nothing_connects_to_whoever_has_taken_the_socket(honest, elsewhere, moment):
    process, paths = elsewhere
    for other in paths:
        swap_socket(honest, moment, other)
        came, _, _ = select.select([process.stdout], [], [], QUIET / SWAPS)
        assert not came, "somebody has connected to a socket that nobody registered"
    honest.admits()
    honest.lives()


# --- a caller who does not wait for the answer -------------------------------------------------------------------


class Impatient:
    """Calls Register and hangs up: ``at`` once, before or after its plug-in answers, or when its list is wanted."""

    MOMENTS = ("at-once", "before-the-options", "after-the-options", "before-the-list", "after-the-list")

    def __init__(self, honest: Honest):
        self._registry = honest.daemon.root / "device-plugins" / "kubelet.sock"
        self._caller: Client | None = None
        self._at = ""
        self.plugin = serving(honest, GetDevicePluginOptions=self._options, ListAndWatch=self._lists)

    def register(self, at: str) -> None:
        """Returns when the caller has hung up, or, at a moment that does not come, when it was answered."""
        self._at, self._caller = at, Client(self._registry)
        request = messages.RegisterRequest(version="v1beta1", endpoint="hangs-up.sock", resource_name=RESOURCE)
        self._caller.begin("/v1beta1.Registration/Register", bytes(request))
        self._hang_up("at-once")
        with suppress(OSError):  # a handler has hung up
            self._caller.answer(1)
        self._caller.hang_up()

    def _hang_up(self, moment: str) -> None:
        if self._caller is not None and self._at == moment:
            self._caller.hang_up()

    def _options(self, one: Call) -> None:
        self._hang_up("before-the-options")
        one.answer()
        self._hang_up("after-the-options")

    def _lists(self, one: Call) -> None:
        self._hang_up("before-the-list")
        lists(one)
        self._hang_up("after-the-list")


def is_settled(honest: Honest, name: str) -> bool:
    """Does the plug-in serve, in deed and not only in word, or is it visibly stopped?"""
    status = honest.status(RESOURCE)
    if status is None or status.endpoint != "serving":
        return True
    if not status.allocatable:
        return False
    admitted = honest.admit(name, RESOURCE).admitted
    if admitted:
        honest.client.remove(name)
    return admitted


def test_a_registration_that_is_abandoned_serves_or_is_stopped(honest):
    impatient = Impatient(honest)
    try:
        for number, moment in zip(range(ABANDONED), itertools.cycle(Impatient.MOMENTS), strict=False):
            impatient.register(moment)
            contradiction = f"abandoned {moment}, it is said to serve, and its pods are refused"
            honest.wait_until(lambda name=f"pod-{number}": is_settled(honest, name), contradiction)
            impatient.register("never")
            honest.wait_until(lambda: has_devices(honest), f"abandoned {moment}, it cannot be registered again")
            assert honest.admit(f"again-{number}", RESOURCE).admitted
            honest.client.remove(f"again-{number}")
        honest.admits()
        honest.lives()
    finally:
        impatient.plugin.close()
