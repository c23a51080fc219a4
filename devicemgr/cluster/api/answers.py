"""What an API server answers: an object, or a Status that says why not. Pure."""

from __future__ import annotations

import json
from typing import Any

from ...errors import ApiError

HTTP_ERROR = 400
FORBIDDEN, NOT_FOUND, CONFLICT, GONE = 403, 404, 409, 410
INVALID = (400, 422)
"""The codes of a request whose content is refused: to send it again is of no use."""


def json_of(content: bytes) -> Any:
    """None for what is no JSON, or is nested too deeply for any object."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def is_object(found: Any) -> bool:
    """Has it what all objects of Kubernetes have, or lists of them?"""
    return has_version(found) and (isinstance(found["metadata"].get("uid"), str) or "items" in found)


def has_version(found: Any) -> bool:
    """That is all that the object of a bookmark has."""
    metadata = found.get("metadata") if isinstance(found, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("resourceVersion"), str)


def is_hearsay(error: ApiError) -> bool:
    """Does it say what has become of an object, and not come from an API server, which gives a reason for that?

    A proxy that does not find its API server says 404, too. Whoever believed it would give the devices of a pod that
    runs to another one.
    """
    return not error.reason and error.code in (NOT_FOUND, CONFLICT, GONE, *INVALID)


def error_of_status(status: object, *, code: int = 0, retry_after: float | None = None) -> ApiError:
    """Kubernetes' Status as an error. ``code`` and ``retry_after`` are what HTTP said."""
    fields = status if isinstance(status, dict) else {}
    said, details = fields.get("code"), fields.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if retry_after is None and isinstance(seconds, int) and seconds > 0:
        retry_after = float(seconds)
    code = code or (said if isinstance(said, int) else 500)
    return ApiError(code, _text(fields, "reason"), _text(fields, "message") or "it does not say why", retry_after)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
