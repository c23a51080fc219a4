"""Long work in steps: a generator that yields wherever other tasks may run, and returns its result.

The caller decides what a step means. :func:`run_steps` does all of the work at once; ``turns.run_in_turns`` gives way
to other tasks between the steps. The work itself stays a plain function of its arguments, without await or clock.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]

CHUNK = 4096
"""Items of one step where each takes a fraction of a microsecond."""
SMALL_CHUNK = 256
"""Items of one step where each takes several microseconds."""


def run_steps(steps: Steps[T]) -> T:
    """Do all of the work at once, and return its result."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        result: T = end.value
        return result


def in_chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """The items in order, ``size`` at a time."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


class SharedSteps(Generic[T]):
    """Work whose result several tasks want at the same time: each does some of the steps, and all get the result.

    If the work fails, it fails for all of them. (A generator that has raised would only say that it has ended.)
    """

    def __init__(self, work: Steps[T]) -> None:
        self._work = work
        self._result: tuple[T] | None = None
        self._failure: BaseException | None = None

    def steps(self) -> Steps[T]:
        """The remaining steps."""
        while self._result is None:
            if self._failure is not None:
                raise self._failure
            try:
                next(self._work)
            except StopIteration as end:
                self._result = (end.value,)
            except BaseException as failure:
                self._failure = failure
                raise
            else:
                yield
        return self._result[0]
