"""All checks, and how some of them are selected."""

from __future__ import annotations

from collections.abc import Iterable

from ....arguments import checked
from ....errors import BadInput
from ....input.yaml_fields import nearest
from ..check import Check
from . import allocation, changes, lists, refused_once, registration, restarts, rolling_update, stable_ids, stream_lost

_MODULES = (registration, lists, allocation, restarts, refused_once, stream_lost, rolling_update, stable_ids, changes)

# The order matters: first the checks that only watch, then those that call the plug-in, then those that break
# something, and at last those after which the manager has no stream.
_ORDER = (
    *("registers", "api-version", "resource-name", "endpoint-name", "serves-first", "options", "first-list"),
    *("first-list-complete", "registers-once", "ids-unique", "ids-valid", "health-valid", "numa-plausible"),
    *("message-size", "stream-stays-open", "stream-silent"),
    *("allocate-answers", "allocate-unknown", "allocate-unhealthy", "allocate-same", "allocate-concurrent"),
    *("paths-absolute", "permissions", "host-paths-exist", "cdi-names", "preferred-allocation", "pre-start"),
    *("restart", "allocate-after-restart", "wiped", "socket-deleted", "registry-deleted", "away"),
    *("registers-again", "descriptors", "stream-lost"),
    *("kill-restart", "sigterm-ends", "sigterm-removes-socket", "rolling-update"),
    *("ids-stable", "lists-complete", "stream-cancel", "changes-arrive", "returns-once", "endpoint-fresh"),
)
_BY_NAME = {value.name: value for module in _MODULES for value in vars(module).values() if isinstance(value, Check)}
CHECKS: dict[str, Check] = {name: _BY_NAME[name] for name in _ORDER}
"""All checks by name, in the order in which they are run."""


@checked
def select(only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[Check]:
    """The checks named in ``only``, or all, without those named in ``skip``. Raises BadInput for an unknown name."""
    wanted, unwanted = set(only), set(skip)
    if unknown := (wanted | unwanted) - set(CHECKS):
        near = nearest(min(unknown), CHECKS)
        raise BadInput(f"no such check{near}; there are {', '.join(CHECKS)}", file=", ".join(sorted(unknown)))
    chosen = [check for name, check in CHECKS.items() if (not wanted or name in wanted) and name not in unwanted]
    if not chosen:
        raise BadInput("no check is left to be run", file=", ".join(sorted(unwanted)))
    return chosen


def with_needs(checks: Iterable[Check]) -> set[str]:
    """The names of these checks, and of all that they need."""
    return {one for check in checks for one in (check.name, *with_needs(CHECKS[name] for name in check.needs))}
