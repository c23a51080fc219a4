"""What is exported is enough: every name that a public signature or its "Raises" mentions can be imported as well. And
a wrong argument is an error of the call that was given it, which names it, before anything has happened."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import pytest
from click.testing import CliRunner

import devicemgr
import devicemgr.cluster
import devicemgr.testing
import devicemgr.testing.conformance
from devicemgr import errors
from devicemgr.daemon.settings import Settings
from devicemgr.testing.conformance import CHECKS, Check

MODULES = (devicemgr, devicemgr.cluster, devicemgr.testing, devicemgr.testing.conformance)
PUBLIC = {name: getattr(module, name) for module in MODULES for name in module.__all__}
MADE_BY_OTHERS = ("DeviceManager", "Blocking", "Portal", "Faults", "PodResources", "ScriptedPlugin", "SimulatedPlugin")
MADE_BY_OTHERS += ("Kube",)
"""Classes of which nobody makes one, so that their constructors are nobody's business."""
HANDED_ON = {"ApiClient", "Connection", "Node"}
"""What one public function returns and another one takes: what is in it is for ourselves."""
FOR_OURSELVES = {
    "DeviceManager.watch_task_tree",
    *(
        "DeviceManager.admit_if",
        "DeviceManager.enter",
        "DeviceManager.gauges",
        "DeviceManager.log",
        "DeviceManager.overview_steps",
        "DeviceManager.watch_task_tree",
        "DeviceManager.watcher",
    ),
    *("Bench.client", "Bench.registrations"),
}


def _functions() -> Iterator[tuple[str, Any]]:
    """Every public function and method, by its full name."""
    for name, value in PUBLIC.items():
        if name in HANDED_ON:
            continue
        if not inspect.isclass(value):
            if callable(value):
                yield name, value
            continue
        if not name.startswith(MADE_BY_OTHERS):
            yield f"{name}.__init__", value.__init__
        for member, found in vars(value).items():
            function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
            if not member.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{member}", function


FUNCTIONS = list(_functions())


def ours(module: str) -> set[str]:
    """The names of a module of ours that are from this package: made in it, or imported from a sibling. A plain type
    with a rule (``Seconds``) is nothing to be imported."""
    tree = ast.parse(Path(str(sys.modules[module].__file__)).read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    made = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assigned = [node for node in tree.body if isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.dump(node)]
    names = {
        *(alias.name for node in imported for alias in node.names),
        *made,
        *(node.target.id for node in assigned if isinstance(node.target, ast.Name)),
    }
    return {name for name in names if get_origin(vars(sys.modules[module]).get(name)) is not Annotated}


def named_in(annotation: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(str(annotation), mode="eval")) if isinstance(node, ast.Name)}


@pytest.mark.parametrize(("name", "function"), FUNCTIONS)
def test_what_a_signature_names_is_exported(name, function):
    module = inspect.getmodule(inspect.unwrap(function))
    if name in FOR_OURSELVES or module is None or not module.__name__.startswith("devicemgr"):
        return
    annotations = [one for one in getattr(function, "__annotations__", {}).values() if isinstance(one, str)]
    named = {one for annotation in annotations for one in named_in(annotation)}
    assert (named & ours(module.__name__)) - set(PUBLIC) == set()


@pytest.mark.parametrize(
    "public", [*(one for name, one in PUBLIC.items() if inspect.isclass(one) and name not in HANDED_ON), Settings]
)
def test_what_a_field_names_is_exported(public):
    """Those of the settings are the arguments of ``open_device_manager``."""
    for kind in inspect.getmro(public):
        if kind.__module__.startswith("devicemgr"):
            fields = {field: text for field, text in inspect.get_annotations(kind).items() if field[0] != "_"}
            named = {one for annotation in fields.values() for one in named_in(annotation)}
            assert (named & ours(kind.__module__)) - set(PUBLIC) == set()


@pytest.mark.parametrize(("name", "function"), FUNCTIONS)
def test_what_a_function_raises_is_exported(name, function):
    raised = re.findall(r"\b[A-Z]\w+", " ".join(re.findall(r"Raises ([^.]*)", inspect.getdoc(function) or "")))
    of_ours = {one for one in raised if hasattr(errors, one)}
    assert of_ours - set(PUBLIC) == set()


@pytest.mark.parametrize("module", [devicemgr, devicemgr.cluster, devicemgr.testing])
def test_every_public_name_can_be_imported(module):
    assert sorted(" ".join(module._MODULES.values()).split()) == module.__all__
    assert all(getattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


# --- arguments -----------------------------------------------------------------------------------------

RESULTS = {"ContainerRun", "ContainerStatus", "DeviceOnNode", "EffectiveSettings", "Layout", "Peer", "PodAdmitResult"}
RESULTS |= {"PodResourcesEntry", "PodStatus", "RecordedEvent", "ResourceCounts", "Event", "Check", "Result", "Seen"}
RESULTS |= {"TaskTree", "TreeNode", "TreeScope"}
RESULTS |= {"KubeNode", "BlockingKubeNode"}
"""Values that are handed out, and in by nobody."""
BY_OURSELVES = (
    "DeviceManager.enter",
    "DeviceManager.events_of_incarnation",
    "DeviceManager.wait_for_reports",
    "Callers.include",
    "Numa.",
    "Bench",
    "Check.",
)
BY_OURSELVES += (
    "Command.start",
    "Command.missing",
    "Command.without_secrets",
    "Attached.start",
    "Attached.without_secrets",
    "Attached.missing",
    "Command.surge",
    "Attached.surge",
    "Subject.",
    "Result.",
)
BY_OURSELVES += ("check", "CheckOptions.", "Observer.")
BY_ITS_SERVICE = (
    "allocate",
    "get_",
    "keep_",
    "next_report",
    "notify",
    "pre_start",
    "require_healthy",
    "default_answer",
)


def _arguments() -> Iterator[tuple[str, Any, str]]:
    """Every argument that somebody outside hands in and whose type says something."""
    for name, value in PUBLIC.items():
        if is_dataclass(value) and name not in RESULTS | HANDED_ON:
            yield from ((name, value, field.name) for field in fields(value))
    for name, function in FUNCTIONS:
        kind, _, method = name.partition(".")
        if method == "__init__" and (is_dataclass(PUBLIC[kind]) or issubclass(PUBLIC[kind], BaseException)):
            continue
        if (kind == "SimulatedPlugin" and method.startswith(BY_ITS_SERVICE)) or method == "__call__":
            continue
        if not name.startswith((*BY_OURSELVES, "Blocking")):
            yield from ((name, function, argument) for argument in _hints(function) if argument != "return")


def _hints(function: Any) -> dict[str, Any]:
    """The types of the arguments, where they can be looked at."""
    if getattr(function, "__annotations__", {}).keys() <= {"return"}:
        return {}  # and that may be known to type checkers only
    hints = get_type_hints(function)
    return {name: hint for name, hint in hints.items() if not _is_anything(hint)}


def _is_anything(hint: Any) -> bool:
    is_open = hint is Any or isinstance(hint, TypeVar) or getattr(hint, "_is_protocol", False)
    return is_open or get_origin(hint) is AbstractAsyncContextManager


def fitting(hint: Any) -> Any:
    """A value of that type."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return fitting(inside[0])
    if origin is Annotated:
        return fitting(inside[0])
    if origin is tuple and inside[-1] is not Ellipsis:
        return tuple(map(fitting, inside))
    made = {str: "vendor.com/gpu", int: 1, float: 1.0, bool: True, Path: Path(), Any: None, Mapping: {}, Iterable: []}
    made |= {Sequence: [], tuple: (), frozenset: frozenset(), Callable: print, type(None): None}
    kind = origin or hint
    made |= {dict: {}, Check: CHECKS["registers"]}
    if kind in made:
        return made[kind]
    if issubclass(kind, Enum):
        return next(iter(kind))
    if is_dataclass(kind) and kind.__name__ not in HANDED_ON:
        return kind(**{field.name: fitting(_hints(kind)[field.name]) for field in fields(kind)})
    return object.__new__(kind)


@pytest.mark.parametrize(("name", "function", "argument"), list(_arguments()))
def test_an_argument_of_another_type_is_told_at_the_call(name, function, argument):
    given = {
        one.name: fitting(_hints(function).get(one.name, Any))
        for one in inspect.signature(function).parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    }
    given[argument] = object()
    with pytest.raises(TypeError, match=rf": {argument} must be .*, not <object"):
        function(**given)


@pytest.mark.parametrize("is_installed", [True, False])
def test_all_who_are_asked_for_the_version_say_the_same(is_installed, monkeypatch):
    """Also in a clone, where there is none."""
    from devicemgr.cli import main
    from devicemgr.daemon.serving.metrics import build_info
    from devicemgr.version import installed_version

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    if not is_installed:
        monkeypatch.setattr(metadata, "version", missing)
    installed_version.cache_clear()
    try:
        said = devicemgr.__version__
        assert (said == "unknown") is not is_installed
        assert build_info()["version"] == said
        assert CliRunner().invoke(main, ["--version"], prog_name="x").output == f"x, version {said}\n"
    finally:
        installed_version.cache_clear()
