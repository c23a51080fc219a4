"""An answer that is encoded once for all who ask the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..steps import SharedSteps, Steps

T = TypeVar("T")


class Encoded(Generic[T]):
    """The last answer, and what it was made of: the same object again means the same bytes."""

    def __init__(self, encode: Callable[[Sequence[T]], Steps[bytes]]) -> None:
        self._encode = encode
        self._content: Sequence[T] | None = None
        self._work: SharedSteps[bytes]

    def of(self, content: Sequence[T]) -> Steps[bytes]:
        """In steps; of several who ask at the same time each does some of them."""
        if content is not self._content:
            self._work, self._content = SharedSteps(self._encode(content)), content
        return self._work.steps()
