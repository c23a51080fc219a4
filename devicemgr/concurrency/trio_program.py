"""Is this a Trio program?"""

from __future__ import annotations

import trio

from ..errors import NeedsTrio


def require_trio(what: str) -> None:
    """Check that this is a Trio program, with a clearer message than Trio's. Raises NeedsTrio."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        raise NeedsTrio(
            f"{what} needs Trio, and this is not a Trio program. Without Trio, or on asyncio, open a portal: "
            "with devicemgr.open_portal() as portal, portal.manager(devicemgr.open_device_manager(…)) as manager: …"
        ) from None
