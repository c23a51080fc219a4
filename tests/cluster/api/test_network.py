"""What httpcore2 writes, on a real socket."""

from __future__ import annotations

import trio

from devicemgr.cluster.api.network import Network


async def test_what_is_written_is_sent_in_one_piece_when_the_answer_is_read(nursery):
    received: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        async for data in stream:
            received.append(bytes(data))
            await stream.send_all(b"answer")

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, [listener])
    stream = await Network().connect_tcp(*listener.socket.getsockname())
    with trio.fail_after(60):
        for _ in range(2):
            await stream.write(b"headers, ", timeout=1)
            await stream.write(b"body", timeout=1)
            assert await stream.read(100) == b"answer"
    assert received == [b"headers, body"] * 2
    await stream.aclose()
    nursery.cancel_scope.cancel()
