"""Plug-ins that look up the pod in the API server before they answer Allocate: there is none on a bench, unless it was
given one."""

from __future__ import annotations

import re

_SIGNS = re.compile(
    r"KUBERNETES_SERVICE_(?:HOST|PORT)|in-?cluster config|kubeconfig|kubernetes\.default|api[- ]?server|"
    r"invalid configuration: no configuration has been provided|"
    r"/api/v1/(?:pods|nodes|namespaces)|dial tcp \S+:(?:443|6443|8080)\b",
    re.IGNORECASE,
)


def api_server_error_in(text: str) -> str | None:
    """The first line that tells that somebody wanted to ask an API server."""
    return next((line.strip() for line in text.splitlines() if _SIGNS.search(line)), None)
