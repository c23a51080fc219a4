"""The table of the API's methods: it is complete, and a new method needs only a row."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import click
import pytest
import trio
from click.testing import CliRunner
from grpclib.const import Cardinality, Handler

from devicemgr import Deadlines, PluginOptions
from devicemgr.cli import fault
from devicemgr.cli.daemon.options import parse_deadlines
from devicemgr.daemon.faults.injection import FaultInjection
from devicemgr.errors import BadInput, PluginUnavailable
from devicemgr.rpc.deviceplugin.client import connect_plugin
from devicemgr.rpc.deviceplugin.methods import METHODS, OPTIONS, Method, deadlines_help, deadlines_type, unary
from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.transport.server import open_server
from devicemgr.rpc.transport.unix_socket import Place
from devicemgr.testing.plugin import script

MADE_UP = Method(
    name="DescribeDevices", request="PreStartContainerRequest", response="Device", short_name="describe", deadline=5.0
)
TABLE = (*METHODS, MADE_UP)
PAGES = list(Path(__file__).parents[3].glob("**/README.md"))


# --- the table and the API ---


def test_every_method_of_the_api_has_its_row_and_messages():
    stated = {
        method.path: (getattr(wire, method.request), getattr(wire, method.response), method.deadline is None)
        for method in METHODS
    }
    generated = wire.DevicePluginBase().__mapping__()
    assert stated == {
        path: (handler.request_type, handler.reply_type, handler.cardinality.server_streaming)
        for path, handler in generated.items()
    }


def test_every_option_of_the_api_announces_a_method():
    assert set(OPTIONS) == {field.name for field in fields(PluginOptions)}
    assert set(OPTIONS) == {field.name for field in fields(wire.DevicePluginOptions)}


def test_names_are_those_of_one_method_each():
    assert len(unary()) == len([method for method in METHODS if method.deadline is not None])
    assert [field.name for field in fields(Deadlines)] == ["dial", *(method.field for method in unary().values())]


@pytest.mark.parametrize("name", ["dial", *unary()])
def test_a_page_states_each_deadline(name):
    """As ``--deadline`` has it, but with the name as code."""
    seconds = getattr(Deadlines(), name.replace("-", "_"))
    assert any(f"`{name}` {seconds:g}" in page.read_text() for page in PAGES)


# --- a made-up method: one row is enough ---


class Describing(wire.DevicePluginBase):
    """Has a method that is not in the API; it answers with the first id."""

    def __mapping__(self):
        async def describe(stream):
            request = await stream.recv_message()
            if request.devices_ids == ["slow"]:
                await trio.sleep_forever()
            await stream.send_message(wire.Device(id=request.devices_ids[0]))

        return {MADE_UP.path: Handler(describe, Cardinality.UNARY_UNARY, wire.PreStartContainerRequest, wire.Device)}


@pytest.fixture
def describe(root_dir):
    """Makes the call, for one id, with these deadlines and faults."""

    async def call(id, deadlines=None, faults=None, method=MADE_UP, on_call=lambda finished: None):
        async with (
            open_server(root_dir / "s.sock", [Describing()]),
            connect_plugin(
                Place(root_dir, Path("s.sock")),
                "v.com/r",
                deadlines=deadlines or deadlines_type(TABLE)(),
                on_call=on_call,
                interceptor=faults,
            ) as client,
        ):
            return await client.call(method, devices_ids=[id])

    return call


async def test_the_client_makes_the_call_and_reports_it(describe):
    finished = []
    assert (await describe("a", on_call=finished.append)).id == "a"
    assert [(one.method, one.outcome) for one in finished] == [("DescribeDevices", "OK")]


async def test_the_client_can_keep_the_bytes(describe):
    assert await describe("a", method=replace(MADE_UP, keeps_bytes=True)) == bytes(wire.Device(id="a"))


@pytest.mark.parametrize("given", [(), ("describe=2",)])
async def test_the_call_has_a_deadline(describe, autojump_clock, given):
    """The row's own, or what the command line says."""
    deadlines = parse_deadlines(given, deadlines_type(TABLE))
    started = trio.current_time()
    with pytest.raises(PluginUnavailable, match="DescribeDevices was not answered within") as caught:
        await describe("slow", deadlines)
    assert caught.value.status == "DEADLINE_EXCEEDED"
    assert trio.current_time() - started == pytest.approx(2 if given else 5)


def test_the_command_line_takes_its_deadline_and_shows_it():
    assert deadlines_help(TABLE) == f"{deadlines_help()}, describe (5)"
    with pytest.raises(click.BadParameter, match="one of dial, .*, pre-start, describe"):
        parse_deadlines(("x=1",), deadlines_type(TABLE))


async def test_faults_delay_it_and_make_it_fail(describe, manager, autojump_clock, monkeypatch):
    injection = FaultInjection(TABLE)
    monkeypatch.setattr(manager.faults, "_fault_injection", injection)
    manager.faults.delay_calls("describe", 3.0)
    started = trio.current_time()
    assert (await describe("a", faults=injection)).id == "a"
    assert trio.current_time() - started >= 3
    manager.faults.fail_calls("describe", error="on fire")
    with pytest.raises(PluginUnavailable, match="on fire"):
        await describe("a", faults=injection)


async def test_without_its_row_there_is_no_such_fault(manager):
    with pytest.raises(BadInput, match="there are options, preferred-allocation, allocate, pre-start"):
        manager.faults.fail_calls("describe")


@pytest.mark.parametrize("words", [["delay-calls", "describe", "3"], ["fail-calls", "describe"]])
def test_the_command_line_has_its_faults(monkeypatch, words):
    injected = []
    monkeypatch.setattr(fault, "_inject", lambda name, root_dir, **fields: injected.append((name, fields["call"])))
    assert CliRunner().invoke(fault.fault_group(METHODS), words).exit_code == 2
    assert CliRunner().invoke(fault.fault_group(TABLE), words).exit_code == 0
    assert injected == [(words[0], "describe")]


def test_a_script_can_have_rules_for_it(monkeypatch):
    text = "resource: a.com/b\ncalls: [{call: DescribeDevices, error: on fire}]"
    with pytest.raises(BadInput, match="must be one of GetDevicePluginOptions, "):
        script.parse_scripts(text, file="s.yaml")
    monkeypatch.setattr(script, "CALLS", script.scriptable_calls(TABLE))
    assert script.parse_scripts(text, file="s.yaml")[0].calls[0].call == "DescribeDevices"
