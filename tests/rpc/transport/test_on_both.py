"""The same services and the same calls on our transport and on grpclib's own: each end sees the same."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
from grpclib import GRPCError

from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.server import open_server
from tests.rpc.transport import cases
from tests.rpc.transport.made_up import GeneratedService, Service

PEER = Path(__file__).parent / "grpclib_peer.py"
NAMES = [case.__name__ for case in cases.CASES] + ["deadline"]


def command(what, path):
    return [sys.executable, str(PEER), what, str(path)]


async def our_client_and_our_server(path):
    service = Service(trio.Event)
    async with open_server(path, [service, GeneratedService()]), open_channel(path) as channel:
        client = await cases.all_of_them(channel, GRPCError)
    return client, cases.noted(service)


async def their_client_and_our_server(path):
    service = Service(trio.Event)
    async with open_server(path, [service, GeneratedService()]):
        done = await trio.run_process(command("call", path), capture_stdout=True)
    return json.loads(done.stdout), cases.noted(service)


async def our_client_and_their_server(path):
    async with trio.open_nursery() as nursery:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = await nursery.start(partial(trio.run_process, command("serve", path), **pipes))
        async with process.stdin, process.stdout:
            assert await process.stdout.receive_some(1) == b"r"  # of "ready"
            async with open_channel(path) as channel:
                client = await cases.all_of_them(channel, GRPCError)
            await process.stdin.aclose()
            output = b"".join([chunk async for chunk in process.stdout])
    return client, json.loads(output.splitlines()[1])


async def their_client_and_their_server(path):
    done = await trio.run_process(command("alone", path), capture_stdout=True)
    client, server = json.loads(done.stdout)
    return client, server


PAIRS = {
    "grpclib alone": their_client_and_their_server,
    "our client": our_client_and_their_server,
    "our server": their_client_and_our_server,
    "ours alone": our_client_and_our_server,
}
KNOWN_DIFFERENCES = {
    # A complete answer, then a reset without error: "stop sending" (RFC 9113, 8.1); grpc-go's server says it as well.
    # grpclib's client takes it for the loss of the answer.
    ("our server", "early_end"): "terminated",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Every case with every pair, once."""
    directory = tmp_path_factory.mktemp("b")
    found = {}
    for number, (name, pair) in enumerate(PAIRS.items()):
        client, server = trio.run(pair, directory / f"{number}.sock")
        found[name] = json.loads(json.dumps([client, server]))
    return found


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("pair", [name for name in PAIRS if name != "grpclib alone"])
def test_both_ends_see_what_they_would_see_of_grpclib(results, pair, case):
    client, server = results[pair]
    their_client, their_server = results["grpclib alone"]
    assert client[case] == KNOWN_DIFFERENCES.get((pair, case), their_client[case])
    assert server.get(case) == their_server.get(case)


def test_the_table_sees_something(results):
    client, server = results["grpclib alone"]
    assert client["ok"] == {"answers": ["hello"], "status": ["OK", None], "initial": [], "trailing": []}
    assert client["error_status"]["status"][0] == "NOT_FOUND"
    assert client["generated"][-4:] == ["RESOURCE_EXHAUSTED", "no room for 1", "UNIMPLEMENTED", None]
    assert client["deadline"] == "DEADLINE_EXCEEDED"
    assert server["cancelled"][-1] == server["deadline"][-1] == server["left_by_an_error"][-1] == "cancelled"
    assert server["deadline"][1] == server["within_the_deadline"][1] == "deadline"
    assert ["some-bin", base64.b64encode(bytes(range(256))).decode()] in server["metadata"][0]
