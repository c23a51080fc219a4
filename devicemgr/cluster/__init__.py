"""The manager as a node of a Kubernetes cluster: of your own, or of one on this machine.

    async with (
        open_device_manager(directory) as manager,
        open_api_client(find_connection()) as api,
        open_node(api, manager, NodeOptions(name="sim")),
    ):
        await trio.sleep_forever()

``api/``            the border: how an API server is spoken to
``objects/``        pure: what the objects of a node look like
``control_plane/``  Kubernetes' own programs as one nursery, and where they come from
``node/``           tasks: a manager as a node of a cluster
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_getattr

if TYPE_CHECKING:
    from .api.client import ApiClient, open_api_client
    from .api.connection import Connection
    from .api.kubeconfig import find_connection
    from .node.agent import Node, open_node
    from .node.options import NodeOptions

__all__ = [
    "ApiClient",
    "Connection",
    "Node",
    "NodeOptions",
    "find_connection",
    "open_api_client",
    "open_node",
]

# As in the package itself; and not all of this needs the extra ``cluster``.
_MODULES = {
    ".api.client": "ApiClient open_api_client",
    ".api.connection": "Connection",
    ".api.kubeconfig": "find_connection",
    ".node.agent": "Node open_node",
    ".node.options": "NodeOptions",
}

if not TYPE_CHECKING:  # a type checker sees the names above, and no others
    __getattr__ = lazy_getattr(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
