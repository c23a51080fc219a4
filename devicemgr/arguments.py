"""Checks of the arguments of public functions: a wrong one is a TypeError or a ValueError of the call, which names it,
and not a failure somewhere later.

Arguments are checked against the annotations. Where a type is not enough, it has rules::

    Seconds = Annotated[float, at_least(0)]

A rule is a function that returns what is wrong with a value, or None. The kinds of annotations that this package uses
are supported, and no others.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from functools import cache, wraps
from pathlib import Path
from types import FunctionType, NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

F = TypeVar("F", bound=Callable[..., Any])

Rule = Callable[[Any], str | None]


def within(low: float, high: float) -> Rule:
    """From ``low`` to ``high``, both included. NaN is not."""
    return lambda value: None if low <= value <= high else f"must be from {low:g} to {high:g}"


def at_least(low: float) -> Rule:
    return lambda value: None if value >= low else f"must be at least {low:g}"


def finite(value: float) -> str | None:
    return None if math.isfinite(value) else "must be finite"


def _why_not_unicode(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"is no Unicode: {error.reason}"
    return None


def _why_no_path(path: object) -> str | None:
    """What would lead somewhere else than meant, or nowhere."""
    text = str(path)
    if not text:
        return "must not be empty; the working directory is '.'"
    if text.startswith("~"):
        return "has a ~, which is not replaced here; see os.path.expanduser"
    return "has a null character" if "\0" in text else None


PathName = Annotated[str | Path, _why_no_path]
Text = Annotated[str, _why_not_unicode]
"""Text that can be encoded: a str may have half of a surrogate pair, which cannot."""
Count = Annotated[int, at_least(0)]
Seconds = Annotated[float, at_least(0)]
FiniteSeconds = Annotated[float, at_least(0), finite]
Port = Annotated[int, within(0, 65535)]


def checked(function: F) -> F:
    """Check the arguments of every call before the call. A call with too many or too few arguments fails as usual."""
    parameters = inspect.signature(function).parameters.values()
    names = [one.name for one in parameters if one.kind <= one.POSITIONAL_OR_KEYWORD]
    known = {*names, *(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)}

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        expected = _annotations(function)

        def checked_value(name: str, value: Any) -> Any:
            __tracebackhide__ = True
            if isinstance(value, Iterator):  # checking it would exhaust it
                value = list(value)
            if name in expected:
                expected[name].check(value, name, f"{function.__name__}()")
            return value

        given = [checked_value(name, value) for name, value in zip(names, args, strict=False)]
        named = {name: checked_value(name, value) if name in known else value for name, value in kwargs.items()}
        return function(*given, *args[len(names) :], **named)

    return call  # type: ignore[return-value]


class CheckedFields:
    """Base of dataclasses whose fields are checked when an instance is made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        __tracebackhide__ = True
        kind: Any = type(self)
        for name, expected in _annotations(kind).items():
            value = getattr(self, name)
            if type(value) is not expected.plain:
                expected.check(value, name, kind.__name__)


@cache
def _annotations(annotated: Any) -> dict[str, _Expected]:
    return {name: _Expected(hint) for name, hint in get_type_hints(annotated, include_extras=True).items()}


class _Expected:
    """What an annotation says about a value. It is parsed once, since values are made often. ``plain`` is a type whose
    values need no further check, or None."""

    def __init__(self, hint: Any) -> None:
        self.rules: tuple[Rule, ...] = ()
        if get_origin(hint) is Annotated:
            hint, *rules = get_args(hint)
            self.rules = tuple(rules)
        origin, inside = get_origin(hint), get_args(hint)
        self.kind = origin or hint
        self.plain = None if origin or self.rules else hint
        self.is_anything = hint is Any or isinstance(hint, TypeVar) or getattr(hint, "_is_protocol", False)
        self.choices = [_Expected(one) for one in inside] if origin in (Union, UnionType) else []
        self.items = [_Expected(one) for one in inside if one is not Ellipsis] if origin in _COLLECTIONS else []
        self.is_row = origin is tuple and Ellipsis not in inside
        self.usual = None if self.is_row else _USUAL.get(self.kind, self.kind)
        """The type of most values that fit, which says so by itself."""

    def check(self, value: Any, name: str, owner: str) -> None:
        """Raises TypeError or ValueError."""
        __tracebackhide__ = True
        if not self._fits(value):
            raise TypeError(f"{owner}: {name} must be {self}, not {value!r:.100}")
        if self.choices:
            next(choice for choice in self.choices if choice._fits(value)).check(value, name, owner)
        else:
            self._check_inside(value, name, owner)
        for rule in self.rules:
            if problem := rule(value):
                raise ValueError(f"{owner}: {name}={value!r:.100}: {problem}")

    def _check_inside(self, value: Any, name: str, owner: str) -> None:
        __tracebackhide__ = True
        if self.kind is Mapping:
            keys, values = self.items
            for key, one in value.items():
                if type(key) is not keys.plain:
                    keys.check(key, f"a key of {name}", owner)
                if type(one) is not values.plain:
                    values.check(one, f"{name}[{key!r:.100}]", owner)
        elif self.items and isinstance(value, Collection):
            items = self.items if self.is_row else self.items * len(value)
            for number, (one, item) in enumerate(zip(value, items, strict=True)):
                if type(one) is not item.plain:
                    item.check(one, f"{name}[{number}]", owner)

    def _fits(self, value: Any) -> bool:
        """Whether it is of that kind. What is inside is not checked."""
        if self.is_anything or type(value) is self.usual:
            return True
        if self.choices:
            return any(one._fits(value) for one in self.choices)
        if isinstance(value, bool):
            return self.kind is bool
        if isinstance(value, str) and self.kind in (Iterable, Sequence):
            return False  # a str is a sequence of str, but nobody means that
        if self.is_row and isinstance(value, tuple):
            return len(value) == len(self.items)
        return isinstance(value, (int, float) if self.kind is float else self.kind)

    def __str__(self) -> str:
        if self.choices:
            return " or ".join(map(str, self.choices))
        if self.is_row:
            return f"a tuple ({', '.join(map(str, self.items))})"
        if self.kind in _NAMES:
            return _NAMES[self.kind]
        name = self.kind.__name__
        if issubclass(self.kind, Enum):
            return f"one of {', '.join(f'{name}.{one.name}' for one in self.kind)}"
        if hasattr(self.kind, "__dataclass_fields__"):
            return f"a {name}({', '.join(f'{field.name}=…' for field in fields(self.kind))})"
        return f"a {name}"


_USUAL: dict[Any, type[Any]] = {Mapping: dict, Sequence: tuple, Iterable: tuple, Callable: FunctionType}
_COLLECTIONS = (tuple, frozenset, Iterable, Sequence, Mapping)
_NAMES: dict[Any, str] = {
    str: "a str",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    NoneType: "None",
    Callable: "a function",
    Iterable: "an iterable",
    Mapping: "a mapping",
    Sequence: "a sequence",
}
