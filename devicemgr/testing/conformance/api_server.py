"""Does a plug-in fail because it needs an API server? Some look up the pod there before they answer Allocate, and a
bench has one only if it was given one."""

from __future__ import annotations

import re

_SIGNS = re.compile(
    r"KUBERNETES_SERVICE_(?:HOST|PORT)|in-?cluster config|kubeconfig|kubernetes\.default|api[- ]?server|"
    r"invalid configuration: no configuration has been provided|"
    r"/api/v1/(?:pods|nodes|namespaces)|dial tcp \S+:(?:443|6443|8080)\b",
    re.IGNORECASE,
)


def api_server_error_in(text: str) -> str | None:
    """The first line that shows that the plug-in could not reach an API server."""
    return next((line.strip() for line in text.splitlines() if _SIGNS.search(line)), None)
