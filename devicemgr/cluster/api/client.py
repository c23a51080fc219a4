"""The little of a Kubernetes client that is needed here: objects as JSON, and waiting until one is as wanted.

httpx2 runs on Trio by itself; it is an extra, since only this package needs it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import trio

from ...errors import DeviceManagerError

Object = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
_WATCHING = httpx2.Timeout(10, read=None)


class ApiError(DeviceManagerError):
    """The API server refused a request: ``code`` is the HTTP status, ``reason`` Kubernetes' own word, as NotFound."""

    def __init__(self, status: Object) -> None:
        super().__init__(f"{status.get('code')} {status.get('reason')}: {status.get('message')}")
        self.code = status.get("code")
        self.reason = status.get("reason")


class ApiClient:
    """Made by :func:`open_api_client`. Every method raises ApiError, or httpx2.TransportError when nobody answers."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def is_ready(self) -> bool:
        try:
            answer = await self._client.get("/readyz", extensions=_closing_what_fails())
        except httpx2.TransportError:
            return False
        return answer.status_code == httpx2.codes.OK

    async def get(self, path: str, **query: str) -> Object:
        return await self._call("GET", path, None, query)

    async def create(self, collection: str, body: Object) -> Object:
        return await self._call("POST", collection, body, {})

    async def patch(self, path: str, body: Object) -> Object:
        """By JSON merge patch: what is None in ``body`` is removed."""
        return await self._call("PATCH", path, body, {}, content_type=MERGE_PATCH)

    async def delete(self, path: str, *, grace: int | None = None) -> Object:
        """``grace``: seconds that a pod's containers have to end, if not those that the pod itself names."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        return await self._call("DELETE", path, options | ({} if grace is None else {"gracePeriodSeconds": grace}), {})

    async def wait_until(self, path: str, holds: Callable[[Object | None], bool]) -> Object | None:
        """The object at ``path`` as soon as it is as wanted; None is one that is not there."""
        collection, _, name = path.rpartition("/")
        selector = {"fieldSelector": f"metadata.name={name}"}
        while True:
            listed = await self.get(collection, **selector)
            now = listed["items"][0] if listed["items"] else None
            if holds(now):
                return now
            query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"], **selector}
            with trio.CancelScope() as watching:
                async with self._client.stream(
                    "GET", collection, params=query, timeout=_WATCHING, extensions=_closing_what_fails()
                ) as answer:
                    if answer.is_error:
                        await answer.aread()
                        raise ApiError(_status(answer))
                    async for line in answer.aiter_lines():
                        event = json.loads(line)
                        # After an error, mostly 410 Gone since the watch has fallen behind, the server ends it.
                        if event["type"] == "ERROR" or watching.cancel_called:
                            continue
                        now = None if event["type"] == "DELETED" else event["object"]
                        if holds(now):
                            # To leave the loop would leave httpx's own generators to the garbage collector.
                            watching.cancel()
            if watching.cancel_called:
                return now

    async def _call(
        self,
        method: str,
        path: str,
        body: Object | None,
        query: dict[str, str],
        *,
        content_type: str = "application/json",
    ) -> Object:
        content = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": content_type}
        answer = await self._client.request(
            method, path, params=query, content=content, headers=headers, extensions=_closing_what_fails()
        )
        if answer.is_error:
            raise ApiError(_status(answer))
        found: Object = answer.json()
        return found


@asynccontextmanager
async def open_api_client(url: str, certificate: Path, token: str) -> AsyncIterator[ApiClient]:
    """For as long as the block lasts. ``certificate`` is that of the authority which the server's own is signed by."""
    async with httpx2.AsyncClient(
        base_url=url,
        verify=ssl.create_default_context(cafile=str(certificate)),
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        trust_env=False,
        timeout=30,
    ) as client:
        yield ApiClient(client)


def _closing_what_fails() -> dict[str, Any]:
    """httpx2 leaves a connection open whose handshake is cancelled. It tells those who trace a request."""
    opened: list[Any] = []

    async def trace(event: str, facts: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            opened.append(facts["return_value"])
        elif event == "connection.start_tls.failed":
            await opened.pop().aclose()

    return {"trace": trace}


def _status(answer: httpx2.Response) -> Object:
    """Kubernetes' Status, also of an answer that is none: a proxy's, or one of a server that is about to end."""
    try:
        status = answer.json()
    except ValueError:
        status = {"message": answer.text[:500]}
    return {"code": answer.status_code, **status} if isinstance(status, dict) else {"code": answer.status_code}
