"""What a task does and what it waits for, in words, beside the function that does it::

    @describes_task(waits_for="the next list of {task.resource}", since="task.last_list_at")
    async def _list_and_watch(self, task): ...

The texts are templates over the function's own parameters. A view of the running tasks fills them in when it finds the
function in a task (``daemon.task_tree``). So they cost nothing while nobody looks, and they tell what the parameters
are then, not what somebody has recorded before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDescription:
    """What one function says about a task that runs it. Of several in one task, the outermost ``name`` counts, and the
    innermost of everything else.

    ``name`` says what the task is, ``about`` is the pod or the resource that it works for, ``state`` is where it is in
    its life. ``waits_for`` completes "the task waits for …". ``since`` is the path to a variable with the time at which
    that began, in seconds of Trio's clock. ``awaits`` is the variable that holds the coroutine that the function
    drives itself.
    """

    name: str = ""
    about: str = ""
    state: str = ""
    waits_for: str = ""
    since: str = ""
    awaits: str = ""

    def time_of(self, variables: Mapping[str, Any]) -> float | None:
        """What ``since`` leads to; None as long as the variable has no value."""
        first, *attributes = self.since.split(".")
        value = variables.get(first)
        for attribute in attributes:
            value = getattr(value, attribute, None)
        return value


DESCRIPTIONS: dict[CodeType, TaskDescription] = {}
"""By the code of the function. Filled by the decorator, when modules are imported."""


def describes_task(
    *, name: str = "", about: str = "", state: str = "", waits_for: str = "", since: str = "", awaits: str = ""
) -> Callable[[F], F]:
    """A decorator, for the innermost place: it returns the function itself."""
    description = TaskDescription(name=name, about=about, state=state, waits_for=waits_for, since=since, awaits=awaits)

    def describe(function: F) -> F:
        assert isinstance(function, FunctionType)
        DESCRIPTIONS[function.__code__] = description
        return function

    return describe
