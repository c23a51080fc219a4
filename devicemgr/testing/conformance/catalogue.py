"""Which checks there are, and choosing from them."""

from __future__ import annotations

from collections.abc import Iterable

from ...arguments import checked
from ...errors import BadInput
from ...yaml_fields import nearest
from . import allocation, changes, lists, refused_once, registration, restarts, rolling_update, stream_lost
from .check import Check

_MODULES = (registration, lists, allocation, restarts, refused_once, stream_lost, rolling_update, changes)

# The order matters: first what can be seen, then what is asked, then what is broken, at last what leaves the plug-in
# without a manager's stream.
_ORDER = (
    *("registers", "api-version", "resource-name", "endpoint-name", "serves-first", "options", "first-list"),
    *("first-list-complete", "registers-once", "ids-unique", "ids-valid", "health-valid", "numa-plausible"),
    *("message-size", "stream-stays-open", "stream-silent"),
    *("allocate-answers", "allocate-unknown", "allocate-unhealthy", "allocate-same", "allocate-concurrent"),
    *("paths-absolute", "permissions", "host-paths-exist", "cdi-names", "preferred-allocation", "pre-start"),
    *("restart", "wiped", "socket-deleted", "registry-deleted", "away", "registers-again"),
    *("descriptors", "stream-lost"),
    *("kill-restart", "sigterm-ends", "sigterm-removes-socket", "rolling-update"),
    *("ids-stable", "lists-complete", "stream-cancel", "changes-arrive", "returns-once", "endpoint-fresh"),
)
_BY_NAME = {value.name: value for module in _MODULES for value in vars(module).values() if isinstance(value, Check)}
CHECKS: dict[str, Check] = {name: _BY_NAME[name] for name in _ORDER}
"""All checks by name, in the order in which they are run."""


@checked
def select(only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[Check]:
    """The checks called ``only``, or all; without those called ``skip``. Raises BadInput for a name that is none."""
    wanted, unwanted = set(only), set(skip)
    if unknown := (wanted | unwanted) - set(CHECKS):
        near = nearest(min(unknown), CHECKS)
        raise BadInput(f"no such check{near}; there are {', '.join(CHECKS)}", file=", ".join(sorted(unknown)))
    chosen = [check for name, check in CHECKS.items() if (not wanted or name in wanted) and name not in unwanted]
    if not chosen:
        raise BadInput("no check is left to be run", file=", ".join(sorted(unwanted)))
    return chosen


def with_needs(checks: Iterable[Check]) -> set[str]:
    """The names of all checks that are run when these are wanted."""
    return {one for check in checks for one in (check.name, *with_needs(CHECKS[name] for name in check.needs))}
