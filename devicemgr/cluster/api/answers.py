"""What an API server answers: an object, or a Status that says why not. Pure."""

from __future__ import annotations

from typing import Any

from ...errors import ApiError

Object = dict[str, Any]
"""An object of Kubernetes, as its JSON."""


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
