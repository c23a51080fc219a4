"""Services for our transport and grpclib's own alike: they use neither Trio nor asyncio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler

from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.transport.server_call import StreamClosingMixin

UNARY, ANSWERS, REQUESTS, BOTH = (
    Cardinality.UNARY_UNARY,
    Cardinality.UNARY_STREAM,
    Cardinality.STREAM_UNARY,
    Cardinality.STREAM_STREAM,
)
ODD_TEXT = "ça coûte 100 % – 日本\n\t~"


class Raw:
    """A message that is its bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    @classmethod
    def FromString(cls, data: bytes) -> Raw:
        return cls(bytes(data))

    def SerializeToString(self) -> bytes:
        return self.data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raw) and other.data == self.data

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"Raw({len(self.data)}: {self.data[:20]!r})"


class Methods:
    """``Methods(Name=(cardinality, function of the stream), …)``: a service of ``/t.T/Name`` methods."""

    def __init__(self, **methods: tuple[Cardinality, Callable[[Any], Any]]) -> None:
        self._methods = methods

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/t.T/{name}": Handler(func, cardinality, Raw, Raw) for name, (cardinality, func) in self._methods.items()
        }


class Service:
    """One method for each case; ``seen`` is what the server saw of each call that carried a name in its metadata."""

    def __init__(self, event: Callable[[], Any]) -> None:
        self._event = event
        self._never = event()
        self._ended: dict[str, Any] = {}
        self.seen: dict[str, list[Any]] = {}

    def __mapping__(self) -> dict[str, Handler]:
        methods = {
            "Echo": (self.echo, UNARY),
            "Empty": (self.echo, UNARY),
            "Fail": (self.fail, UNARY),
            "Metadata": (self.metadata, UNARY),
            "Hang": (self.hang, UNARY),
            "Ended": (self.ended, UNARY),
            "Count": (self.count, ANSWERS),
            "FailLate": (self.fail_late, ANSWERS),
            "CountAndHang": (self.count_and_hang, ANSWERS),
            "Join": (self.join, REQUESTS),
            "Early": (self.early, REQUESTS),
            "Each": (self.each, BOTH),
        }
        return {
            f"/t.T/{name}": Handler(self._seen(func), cardinality, Raw, Raw)
            for name, (func, cardinality) in methods.items()
        }

    def _seen(self, func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def handler(stream: Any) -> None:
            name = stream.metadata.get("case", "")
            seen = self.seen[name] = [
                sorted(stream.metadata.items(), key=repr),
                "deadline" if stream.deadline else "no deadline",
            ]
            ended = self._ended.setdefault(name, self._event())
            try:
                await func(stream)
                seen.append("returned")
            except BaseException as error:
                seen.append(type(error).__name__ if isinstance(error, Exception) else "cancelled")
                raise
            finally:
                ended.set()

        return handler

    async def echo(self, stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    async def fail(self, stream: Any) -> None:
        await stream.recv_message()
        raise GRPCError(Status.NOT_FOUND, ODD_TEXT)

    async def metadata(self, stream: Any) -> None:
        message = await stream.recv_message()
        await stream.send_initial_metadata(metadata={"first": "yes", "first-bin": bytes(range(256))})
        await stream.send_message(message)
        await stream.send_trailing_metadata(metadata=[("last", "a"), ("last", "b"), ("last-bin", b"\0")])

    async def hang(self, stream: Any) -> None:
        await stream.recv_message()
        await self._never.wait()

    async def ended(self, stream: Any) -> None:
        """Answers when the call of the case that the request names has ended."""
        name = (await stream.recv_message()).data.decode()
        await self._ended.setdefault(name, self._event()).wait()
        await stream.send_message(Raw())

    async def count(self, stream: Any) -> None:
        count, size = map(int, (await stream.recv_message()).data.split())
        for number in range(count):
            await stream.send_message(Raw(b"%d" % number + b"." * size))

    async def fail_late(self, stream: Any) -> None:
        await self.count(stream)
        raise GRPCError(Status.DATA_LOSS, ODD_TEXT)

    async def count_and_hang(self, stream: Any) -> None:
        await self.count(stream)
        await self._never.wait()

    async def join(self, stream: Any) -> None:
        await stream.send_message(Raw(b",".join([message.data async for message in stream])))

    async def early(self, stream: Any) -> None:
        """Answers without reading its request."""
        await stream.send_message(Raw(b"enough"))

    async def each(self, stream: Any) -> None:
        async for message in stream:
            await stream.send_message(Raw(message.data.upper()))


class GeneratedService(StreamClosingMixin, wire.DevicePluginBase):
    """What betterproto2 made of a .proto file, and what we put in front of it."""

    async def get_device_plugin_options(self, message: wire.Empty) -> wire.DevicePluginOptions:
        return wire.DevicePluginOptions(pre_start_required=True)

    async def list_and_watch(self, message: wire.Empty) -> Any:
        for number in range(3):
            yield wire.ListAndWatchResponse(devices=[wire.Device(id=f"d{number}")])

    async def allocate(self, message: wire.AllocateRequest) -> wire.AllocateResponse:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, f"no room for {len(message.container_requests)}")


async def unary(channel: Any, name: str, data: bytes = b"", **options: Any) -> bytes:
    """Call ``/t.T/name``, in the way of a generated stub."""
    async with channel.request(f"/t.T/{name}", UNARY, Raw, Raw, **options) as stream:
        await stream.send_message(Raw(data), end=True)
        answer = await stream.recv_message()
    assert answer is not None
    return answer.data
