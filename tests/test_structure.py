"""The house rules that can only be seen by looking for what is absent."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "devicemgr"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "stubs" not in path.parts)

# A layer may import the layers listed for it, of its own package.
LAYERS = {
    "arguments": set(),
    "model": {"arguments"},
    "peer_limits": {"arguments"},
    "errors": {"model"},
    "resource_names": {"model"},
    "quantity": set(),
    "printable": set(),
    "rules": set(),
    "steps": set(),
    "version": set(),
    "turns": {"steps"},
    "node_resources": {"model", "resource_names", "quantity"},
    "events": {"model"},
    "yaml_fields": {"errors"},
    "node_config": {"errors", "yaml_fields", "model", "node_resources"},
    "pod_kinds": {"yaml_fields"},
    "manifest": {"errors", "yaml_fields", "model", "resource_names", "pod_kinds", "quantity"},
    "core": {"arguments", "model", "errors", "events", "resource_names", "steps"},
    "rpc": {"arguments", "model", "peer_limits", "errors", "events", "steps", "turns"},
    "daemon": {
        "arguments",
        "model",
        "peer_limits",
        "errors",
        "events",
        "resource_names",
        "manifest",
        "node_resources",
        "steps",
        "turns",
        "version",
        "core",
        "rpc",
    },
    "testing": {"arguments", "model", "peer_limits", "errors", "events", "resource_names", "printable", "yaml_fields"}
    | {"core", "rpc", "daemon"},
    "cli": {
        "model",
        "peer_limits",
        "errors",
        "events",
        "resource_names",
        "node_config",
        "manifest",
        "node_resources",
        "yaml_fields",
    }
    | {"printable", "rules", "version", "core", "rpc", "daemon", "testing"},
    "__init__": {"peer_limits", "core", "daemon", "errors", "events", "model", "rpc"},
    "__main__": {"cli"},
}
# An outside package and the only layers that may import it.
ONLY_IN = {
    "grpclib": {"rpc"},
    "betterproto2": {"rpc"},
    "asyncio": set(),
    "trio_asyncio": set(),
    "yaml": {"yaml_fields"},
    "click": {"cli"},
    "rich": {"cli"},
    "inotify_simple": {"daemon"},
    "prometheus_client": {"daemon"},
    "h11": {"daemon"},
    "fnv_hash_fast": {"core"},
    "pytest": {"testing"},
    "pytest_trio": {"testing"},
    "google": set(),
    "grpc": set(),
}
ONLY_IN_THE_TRANSPORT = {"h2", "hpack", "hyperframe"}
PURE_MAY_NOT_IMPORT = {"trio", "time", "os", "pathlib", "logging", "socket", "datetime"}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(first name, is it of our package) of every import."""
    found: list[tuple[str, bool]] = []
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append(((node.module or "").split(".")[0], False))
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            found += [(name, True) for name in names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    layer = layer_of(path)
    for name, ours in imports_of(path):
        if ours:
            assert name == layer or name in LAYERS[layer], f"{layer} must not import {name}"
        elif name in ONLY_IN:
            assert layer in ONLY_IN[name], f"only {ONLY_IN[name]} may import {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_http_2_is_spoken_in_one_place(path):
    named = {name for name, ours in imports_of(path) if not ours}
    assert not named & ONLY_IN_THE_TRANSPORT or path.parent == PACKAGE / "rpc" / "transport"


@pytest.mark.parametrize("path", [p for p in SOURCES if layer_of(p) == "core"], ids=lambda path: path.name)
def test_the_core_is_pure(path):
    tree = ast.parse(path.read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef | ast.Await)]
    assert not PURE_MAY_NOT_IMPORT & {name for name, ours in imports_of(path) if not ours}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_declares_a_global_that_changes(path):
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Global)]


def test_every_file_that_is_no_module_is_in_the_wheel():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["devicemgr"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files - packed == {PACKAGE / "rpc" / "stubs" / "py.typed"}  # betterproto2 makes it; the package has its own
