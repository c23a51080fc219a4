"""An answer that is encoded once for all callers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..concurrency.steps import SharedSteps, Steps

T = TypeVar("T")


class Encoded(Generic[T]):
    """Keeps the last answer: the same content object means the same bytes."""

    def __init__(self, encode: Callable[[Sequence[T]], Steps[bytes]]) -> None:
        self._encode = encode
        self._content: Sequence[T] | None = None
        self._work: SharedSteps[bytes]

    def of(self, content: Sequence[T]) -> Steps[bytes]:
        """The bytes, in steps. Concurrent callers share the work."""
        if content is not self._content:
            self._work, self._content = SharedSteps(self._encode(content)), content
        return self._work.steps()
