"""The page's modules, which need packages of an extra. They are imported when the page is served: that takes time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import requires_extra

if TYPE_CHECKING:
    from .site import Site


def make_site() -> Site:
    """Raises ExtraMissing."""
    with requires_extra("page"):
        from .site import Site
    return Site()
