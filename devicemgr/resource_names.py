"""Names: what counts as an extended resource (API-12), and what a container runtime takes for a CDI device."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_CDI_NAME = re.compile(
    r"[A-Za-z]([\w.\-]*[A-Za-z0-9])?"  # vendor
    r"/[A-Za-z]([\w.\-]*[A-Za-z0-9])?"  # class
    r"=[A-Za-z0-9]([\w.:\-]*[A-Za-z0-9])?",  # name
    re.ASCII,
)


def why_not_extended(name: str) -> str | None:
    """The reason why ``name`` is not an extended resource name, or None when it is one.

    Source: API-12; the kubelet checks ``requests.`` + name, so the domain has 244 bytes, not 253.
    """
    if "/" not in name:
        return "it has no domain (as in vendor.com/gpu)"
    if "kubernetes.io/" in name:
        return "kubernetes.io is reserved for native resources"
    if name.startswith("requests."):
        return "the prefix requests. is reserved for quotas"
    prefix, _, rest = name.partition("/")
    if not _PREFIX.fullmatch(prefix) or len(f"requests.{prefix}".encode()) > 253:
        return f"{prefix!r} is not a lower-case DNS subdomain of at most 244 bytes"
    if not _NAME.fullmatch(rest) or len(rest.encode()) > 63:
        return f"{rest!r} is not 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"
    return None


def is_cdi_name(name: str) -> bool:
    """Is it qualified, as in ``vendor.com/class=name``? A runtime looks up no other."""
    return _CDI_NAME.fullmatch(name) is not None


ExtendedResource: TypeAlias = Annotated[str, why_not_extended]
"""For the argument of a function that is ``arguments.checked``."""
