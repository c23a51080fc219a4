"""A table of calls, made through the interface that our channel and grpclib's have in common.

Each is a function of the channel and of ``waiting``, a context manager that gives up after so many seconds. What it
returns is what the client sees; :class:`~.made_up.Service` notes what the server sees.

Not here: a method that there is not. grpclib's server says UNIMPLEMENTED in headers that its client takes for no gRPC.
"""

from __future__ import annotations

import base64
from typing import Any

from grpclib import GRPCError
from grpclib.exceptions import StreamTerminatedError

from devicemgr.rpc.stubs import v1beta1 as wire
from tests.rpc.transport.made_up import ANSWERS, BOTH, REQUESTS, UNARY, Raw, Service, unary

LARGE = b"0123456789abcdef" * (3 * 2**16)  # 3 MiB, longer than every window


async def call(channel: Any, case: str, name: str, cardinality: Any, *requests: bytes, **options: Any) -> Any:
    """Send all requests, then read all answers. Returns answers, status, and metadata."""
    answers: list[str] = []
    seen = {"answers": answers, "status": ["OK", None]}
    options["metadata"] = {"case": case, **options.pop("metadata", {})}
    stream = channel.request(f"/t.T/{name}", cardinality, Raw, Raw, **options)
    try:
        async with stream:
            if not requests:
                await stream.send_request(end=True)
            for number, data in enumerate(requests, 1):
                await stream.send_message(Raw(data), end=number == len(requests))
            while (answer := await stream.recv_message()) is not None:
                answers.append(summary(answer.data))
            if stream.trailing_metadata is None:
                await stream.recv_trailing_metadata()
    except GRPCError as error:
        seen["status"] = [error.status.name, error.message]
    seen["initial"] = listed(stream.initial_metadata)
    seen["trailing"] = listed(stream.trailing_metadata)
    return seen


def summary(data: bytes) -> str:
    return data.decode() if len(data) < 100 else f"{len(data)} bytes, {data[:8]!r}…{data[-8:]!r}"


def listed(metadata: Any) -> list[list[str]]:
    return [
        [key, value if isinstance(value, str) else base64.b64encode(value).decode()]
        for key, value in (metadata or {}).items()
    ]


async def ok(channel: Any) -> Any:
    return await call(channel, "ok", "Echo", UNARY, b"hello")


async def empty(channel: Any) -> Any:
    return await call(channel, "empty", "Empty", UNARY, b"")


async def error_status(channel: Any) -> Any:
    return await call(channel, "error_status", "Fail", UNARY, b"")


async def large(channel: Any) -> Any:
    return await call(channel, "large", "Echo", UNARY, LARGE)


async def answers(channel: Any) -> Any:
    return await call(channel, "answers", "Count", ANSWERS, b"5 3")


async def no_answers(channel: Any) -> Any:
    return await call(channel, "no_answers", "Count", ANSWERS, b"0 0")


async def large_answers(channel: Any) -> Any:
    return await call(channel, "large_answers", "Count", ANSWERS, b"3 1000000")


async def error_after_answers(channel: Any) -> Any:
    return await call(channel, "error_after_answers", "FailLate", ANSWERS, b"2 0")


async def requests(channel: Any) -> Any:
    return await call(channel, "requests", "Join", REQUESTS, b"a", b"", b"c")


async def large_requests(channel: Any) -> Any:
    return await call(channel, "large_requests", "Join", REQUESTS, LARGE, LARGE)


async def no_requests(channel: Any) -> Any:
    return await call(channel, "no_requests", "Join", REQUESTS)


async def both(channel: Any) -> Any:
    return await call(channel, "both", "Each", BOTH, b"a", b"", b"c")


async def in_turns(channel: Any) -> Any:
    found = []
    async with channel.request("/t.T/Each", BOTH, Raw, Raw, metadata={"case": "in_turns"}) as stream:
        await stream.send_request()
        for data in (b"a", b"", b"c"):
            await stream.send_message(Raw(data))
            found.append((await stream.recv_message()).data.decode())
        await stream.end()
        found.append(await stream.recv_message())
    return found


async def early_end(channel: Any) -> Any:
    """The server answers without reading all of the request."""
    found = []
    try:
        async with channel.request("/t.T/Early", REQUESTS, Raw, Raw, metadata={"case": "early_end"}) as stream:
            await stream.send_message(Raw(b"one of many"))
            found.append((await stream.recv_message()).data.decode())
            await stream.cancel()
    except StreamTerminatedError:
        return "terminated"
    return found


async def metadata(channel: Any) -> Any:
    sent = {"text": "~ !", "some-bin": bytes(range(256)), "empty-bin": b""}
    return await call(channel, "metadata", "Metadata", UNARY, b"x", metadata=sent)


async def cancelled(channel: Any) -> Any:
    found = []
    async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw, metadata={"case": "cancelled"}) as stream:
        await stream.send_message(Raw(b"2 0"), end=True)
        for _ in range(2):
            found.append((await stream.recv_message()).data.decode())
        await stream.cancel()
    await unary(channel, "Ended", b"cancelled")
    return found


async def left_by_an_error(channel: Any) -> Any:
    try:
        metadata = {"case": "left_by_an_error"}
        async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw, metadata=metadata) as stream:
            await stream.send_message(Raw(b"1 0"), end=True)
            await stream.recv_message()
            raise KeyError
    except KeyError:
        await unary(channel, "Ended", b"left_by_an_error")
    return "left"


async def within_the_deadline(channel: Any) -> Any:
    return await call(channel, "within_the_deadline", "Echo", UNARY, b"x", timeout=60)


async def generated(channel: Any) -> Any:
    stub = wire.DevicePluginStub(channel)
    found = [repr(await stub.get_device_plugin_options(wire.Empty()))]
    found += [repr(answer) async for answer in stub.list_and_watch(wire.Empty())]
    for method, request in (
        (stub.allocate, wire.AllocateRequest(container_requests=[wire.ContainerAllocateRequest(devices_ids=["a"])])),
        (stub.pre_start_container, wire.PreStartContainerRequest()),
    ):
        try:
            await method(request, timeout=60)
        except GRPCError as error:
            found += [error.status.name, error.message]
    return found


CASES = [
    ok, empty, error_status, large, answers, no_answers, large_answers, error_after_answers, requests,
    large_requests, no_requests, both, in_turns, early_end, metadata, cancelled, left_by_an_error, within_the_deadline,
    generated,
]  # fmt: skip


async def deadline(channel: Any, timed_out: type[BaseException]) -> Any:
    """On grpclib, whose client raises a timeout of asyncio's, where ours has the status."""
    try:
        seen = await call(channel, "deadline", "Hang", UNARY, b"", timeout=0.5)
        name = seen["status"][0]
    except timed_out:
        name = "DEADLINE_EXCEEDED"
    await unary(channel, "Ended", b"deadline")
    return name


async def all_of_them(channel: Any, timed_out: type[BaseException]) -> Any:
    seen = {case.__name__: await case(channel) for case in CASES}
    seen["deadline"] = await deadline(channel, timed_out)
    return seen


def noted(service: Service) -> Any:
    """What the server saw, as JSON keeps it; the metadata that clients of different make send are left out."""
    found = {}
    for case, (metadata, *rest) in service.seen.items():
        if case:
            found[case] = [listed(dict(metadata)), *rest]
    return found
