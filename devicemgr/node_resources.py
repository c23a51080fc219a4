"""Extended resources that the node has without a device plug-in, because someone patched them into its status.

Examples are GPU memory that a scheduler extender shares, SGX enclave pages and pod ENIs. The kubelet only counts them,
in the fit check (CAP-9). Here there is no API server with a node to patch, so they are options of the manager.

What a plug-in reports has precedence, as in the node's status (CAP-5): from its first list on its devices count
instead, while it is away as well, and as 0 after its grace period. The option counts again once that zero was
acknowledged; on a real node it would be patched again then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from .model import ResourceName
from .quantity import whole_number
from .resource_names import why_not_extended


def _why_not_counted(given: Mapping[str, int | str]) -> str | None:
    try:
        node_resources(given)
    except ValueError as error:
        return str(error)
    return None


NodeResources: TypeAlias = Annotated[Mapping[str, int | str], _why_not_counted]
"""For the argument of a function that is ``arguments.checked``."""


def node_resources(given: Mapping[str, int | str]) -> dict[ResourceName, int]:
    """How many of each there are, in the order of their names; a count is a number, or a quantity such as ``16Gi``.

    Raises ValueError for a name or a count that the API server would refuse.
    """
    return {name: node_resource(name, count) for name, count in sorted(given.items())}


def node_resource(name: str, count: int | str) -> int:
    """How many of one there are. Raises ValueError."""
    if problem := why_not_extended(name):
        raise ValueError(f"{name!r} is not an extended resource name: {problem}")
    try:
        return whole_number(str(count))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
