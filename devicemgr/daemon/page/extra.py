"""The page's modules, which need packages of an extra. They are imported when the page is
asked for: that takes 200 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ExtraMissing

if TYPE_CHECKING:
    from .site import Site


def make_site() -> Site:
    """Raises ExtraMissing."""
    try:
        from .site import Site
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"the page needs {error.name}, which is not installed: pip install 'devicemgr[page]'"
        ) from error
    return Site()
