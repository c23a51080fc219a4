"""What is exported is enough: every name that a public signature or its "Raises" mentions can be imported as well."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import devicemgr
import devicemgr.testing
from devicemgr import errors

PUBLIC = {name: getattr(module, name) for module in (devicemgr, devicemgr.testing) for name in module.__all__}
MADE_BY_OTHERS = ("DeviceManager", "Blocking", "Portal", "Faults", "PodResources", "ScriptedPlugin", "SimulatedPlugin")
"""Classes of which nobody makes one, so that their constructors are nobody's business."""
FOR_OURSELVES = {"DeviceManager.living", "DeviceManager.watcher"}


def _functions() -> Iterator[tuple[str, Any]]:
    """Every public function and method, by its full name."""
    for name, value in PUBLIC.items():
        if not inspect.isclass(value):
            if callable(value):
                yield name, inspect.unwrap(value)
            continue
        if not name.startswith(MADE_BY_OTHERS):
            yield name, value.__init__
        for member, found in vars(value).items():
            function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
            if not member.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{member}", inspect.unwrap(function)


FUNCTIONS = list(_functions())


def ours(module: str) -> set[str]:
    """The names of a module of ours that are from this package: made in it, or imported from a sibling."""
    tree = ast.parse(Path(str(sys.modules[module].__file__)).read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    made = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assigned = [node for node in tree.body if isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.dump(node)]
    return {
        *(alias.name for node in imported for alias in node.names),
        *made,
        *(node.target.id for node in assigned if isinstance(node.target, ast.Name)),
    }


def named_in(annotation: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(str(annotation), mode="eval")) if isinstance(node, ast.Name)}


@pytest.mark.parametrize(("name", "function"), FUNCTIONS)
def test_what_a_signature_names_is_exported(name, function):
    module = inspect.getmodule(function)
    if name in FOR_OURSELVES or module is None or not module.__name__.startswith("devicemgr"):
        return
    named = {one for annotation in function.__annotations__.values() for one in named_in(annotation)}
    assert (named & ours(module.__name__)) - set(PUBLIC) == set()


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isclass(value)])
def test_what_a_field_names_is_exported(name):
    for kind in inspect.getmro(PUBLIC[name]):
        if kind.__module__.startswith("devicemgr"):
            fields = {field: text for field, text in inspect.get_annotations(kind).items() if field[0] != "_"}
            named = {one for annotation in fields.values() for one in named_in(annotation)}
            assert (named & ours(kind.__module__)) - set(PUBLIC) == set()


@pytest.mark.parametrize(("name", "function"), FUNCTIONS)
def test_what_a_function_raises_is_exported(name, function):
    raised = re.findall(r"\b[A-Z]\w+", " ".join(re.findall(r"Raises ([^.]*)", inspect.getdoc(function) or "")))
    of_ours = {one for one in raised if hasattr(errors, one)}
    assert of_ours - set(PUBLIC) == set()


@pytest.mark.parametrize("module", [devicemgr, devicemgr.testing])
def test_every_public_name_can_be_imported(module):
    assert sorted(module._HOME) == module.__all__
    assert all(getattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing
