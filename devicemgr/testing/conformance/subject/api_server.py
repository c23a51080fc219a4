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


_TROUBLE = re.compile(
    r"err|fail|unable|cannot|can't|could ?n[o']t|refused|time-?d? ?out|must be|no configuration|no route|no such host|"
    r"not (?:found|defined|set|available)|unreachable|forbidden|unauthorized|missing|dial tcp|exception|"
    r"^\s*[EF]\d{4} ",
    re.IGNORECASE,
)


def api_server_error_in(error: str, output: str = "") -> str | None:
    """The first line that shows that the plug-in could not reach an API server: of the error, or of what the plug-in
    wrote meanwhile. There a line that only mentions one is no such line."""
    lines = [*error.splitlines(), *(line for line in output.splitlines() if _TROUBLE.search(line))]
    return next((line.strip() for line in lines if _SIGNS.search(line)), None)
