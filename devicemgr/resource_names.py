"""Names: what counts as an extended resource (API-12), what a container runtime takes for a CDI device, and labels."""

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
    return _why_no_name(rest)


def why_not_label(key: str, value: str) -> str | None:
    """The reason why the API server takes no object with this label, or None when it does."""
    prefix, slash, name = key.rpartition("/")
    if slash and (not _PREFIX.fullmatch(prefix) or len(prefix) > 253):
        return f"{prefix!r} is not a lower-case DNS subdomain of at most 253 bytes"
    return _why_no_name(name) or (_why_no_name(value) if value else None)


def _why_no_name(name: str) -> str | None:
    if _NAME.fullmatch(name) and len(name) <= 63:
        return None
    return f"{name!r} is not 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"


def is_cdi_name(name: str) -> bool:
    """Is it qualified, as in ``vendor.com/class=name``? A runtime looks up no other."""
    return _CDI_NAME.fullmatch(name) is not None


ExtendedResource: TypeAlias = Annotated[str, why_not_extended]
"""For the argument of a function that is ``arguments.checked``."""
