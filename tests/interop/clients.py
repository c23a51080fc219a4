"""Clients that have none of our code, with the same few verbs: on grpcio, and on grpc-go with Kubernetes' stubs."""

from __future__ import annotations

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tests.processes import running

PROTO = Path(__file__).parents[2] / "proto"
SERVICES = ("deviceplugin/v1beta1/api.proto", "podresources/v1/api.proto", "devicemgr/v1/admin.proto")
CODES = {code.value[0]: code for code in grpc.StatusCode}

Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Call:
    """``messages``: of a stream, hang up after so many; 0: read to its end."""

    method: str
    request: Message = field(default_factory=dict)
    timeout: float = 15.0
    metadata: dict[str, str] = field(default_factory=dict)
    gzip: bool = False
    messages: int = 0


@dataclass(kw_only=True)
class Answer:
    """What came back, and the status in which the call ended."""

    messages: list[Message] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    text: str = ""

    @property
    def message(self) -> Message:
        """The answer of a call that must have succeeded."""
        assert self.code is grpc.StatusCode.OK, self
        (message,) = self.messages
        return message


OnMessage = Callable[[Message], None]


def ignore(message: Message) -> None:
    """The usual ``on_message``."""


class Client(ABC):
    """``on_message`` is called with each message as it comes: what the test does then, happens within the stream."""

    @abstractmethod
    def in_turn(self, socket: Path, *calls: Call, on_message: OnMessage = ignore) -> list[Answer]:
        """One call after the other, on one connection."""

    @abstractmethod
    def at_once(self, socket: Path, calls: Sequence[Call]) -> list[Answer]:
        """All calls at the same time, on one connection."""

    @abstractmethod
    def reconnecting(self, socket: Path, calls: Sequence[Call]) -> list[Answer]:
        """One call after the other, each on a connection of its own."""

    def call(self, socket: Path, call: Call, on_message: OnMessage = ignore) -> Answer:
        (answer,) = self.in_turn(socket, call, on_message=on_message)
        return answer


class GoClient(Client):
    def __init__(self, program: Path) -> None:
        self._program = program

    def in_turn(self, socket: Path, *calls: Call, on_message: OnMessage = ignore) -> list[Answer]:
        return self._run(socket, calls, on_message=on_message)

    def at_once(self, socket: Path, calls: Sequence[Call]) -> list[Answer]:
        return self._run(socket, calls, "-at-once")

    def reconnecting(self, socket: Path, calls: Sequence[Call]) -> list[Answer]:
        return self._run(socket, calls, "-reconnect")

    def _run(self, socket: Path, calls: Sequence[Call], *flags: str, on_message: OnMessage = ignore) -> list[Answer]:
        answers = [Answer() for _ in calls]
        command = [self._program, "-socket", socket, *flags]
        with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.writelines(f"{json.dumps(asdict(call))}\n" for call in calls)
            process.stdin.close()
            for event in map(json.loads, process.stdout):
                answer = answers[event["call"]]
                if "code" in event:
                    answer.code, answer.text = CODES[event["code"]], event["text"]
                else:
                    answer.messages.append(event["message"])
                    on_message(event["message"])
            assert process.wait() == 0
        return answers


class GrpcioClient(Client):
    def __init__(self, services: Path) -> None:
        """``services`` is the file that :func:`describe_services` has written."""
        self._pool = DescriptorPool()  # not the usual one, in which other tests have messages of the same names
        for file in FileDescriptorSet.FromString(services.read_bytes()).file:
            self._pool.Add(file)

    def in_turn(self, socket: Path, *calls: Call, on_message: OnMessage = ignore) -> list[Answer]:
        with _channel(socket) as channel:
            return [self._make(channel, call, on_message) for call in calls]

    def at_once(self, socket: Path, calls: Sequence[Call]) -> list[Answer]:
        with _channel(socket) as channel, ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(lambda call: self._make(channel, call, ignore), calls))

    def reconnecting(self, socket: Path, calls: Sequence[Call]) -> list[Answer]:
        return [self.call(socket, call) for call in calls]

    def _make(self, channel: grpc.Channel, call: Call, on_message: OnMessage) -> Answer:
        request, answer, is_stream = self._types(call.method)
        method = (channel.unary_stream if is_stream else channel.unary_unary)(
            call.method, request_serializer=request.SerializeToString, response_deserializer=answer.FromString
        )
        options = {
            "timeout": call.timeout,
            "metadata": [(key, _wire_value(key, value)) for key, value in call.metadata.items()],
            "compression": grpc.Compression.Gzip if call.gzip else grpc.Compression.NoCompression,
        }
        message = json_format.ParseDict(call.request, request())
        if is_stream:
            return _stream(method(message, **options), call.messages, on_message)
        return _unary(method, message, options)

    def _types(self, method: str) -> tuple[Any, Any, bool]:
        """Request, answer, and is it a stream; a method that nobody knows gets empty messages."""
        service, _, name = method.removeprefix("/").partition("/")
        found = self._pool.FindServiceByName(service).methods_by_name.get(name)
        if found is None:
            empty = GetMessageClass(self._pool.FindMessageTypeByName("v1beta1.Empty"))
            return empty, empty, False
        return GetMessageClass(found.input_type), GetMessageClass(found.output_type), bool(found.server_streaming)


def describe_services(file: Path) -> Path:
    """Write what protoc makes of our .proto files."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--descriptor_set_out={file}", *SERVICES]
    subprocess.run(command, check=True, capture_output=True)
    return file


def _channel(socket: Path) -> grpc.Channel:
    """With a connection of its own."""
    return grpc.insecure_channel(f"unix:{socket}", options=[("grpc.use_local_subchannel_pool", 1)])


def _wire_value(key: str, value: str) -> str | bytes:
    return value.encode() if key.endswith("-bin") else value


def _unary(method: Any, message: Any, options: dict[str, Any]) -> Answer:
    try:
        return Answer(code=grpc.StatusCode.OK, messages=[_as_json(method(message, **options))])
    except grpc.RpcError as error:
        return Answer(code=error.code(), text=error.details())


def _stream(opened: Any, messages: int, on_message: OnMessage) -> Answer:
    seen: list[Message] = []
    try:
        for message in opened:
            seen.append(_as_json(message))
            on_message(seen[-1])
            if len(seen) == messages:
                opened.cancel()
                break
    except grpc.RpcError:
        pass  # the call has its status
    return Answer(code=opened.code(), text=opened.details(), messages=seen)


def _as_json(message: Any) -> Message:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
