"""What a browser gets once: the page's own files, in ``browser/``, and the sentence of each rule of the book."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...rules.book import read_book

_MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
"""By what a file's name ends with."""


def file_routes() -> Iterator[Route]:
    """``/`` is the page itself, which names the others by their names; ``/rules`` is the book."""
    for file in files(__package__).joinpath("browser").iterdir():
        media_type = _MEDIA_TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            path = "/" if file.name == "page.html" else f"/{file.name}"
            yield Route(path, _unchanging(file.read_bytes(), f"{media_type}; charset=utf-8"))
    sentences = {item.id: item.sentence for item in read_book().values()}
    yield Route("/rules", _unchanging(json.dumps(sentences).encode(), "application/json"))


def _unchanging(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """What stays the same as long as this program runs.

    A browser may keep it, but asks each time whether it is still the same: the next program at this address may be of
    another version, and a page with files of two versions would be broken.
    """
    tag = f'"{sha256(content).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "no-cache"}

    async def give(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return give
