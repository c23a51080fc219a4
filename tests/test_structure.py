"""The rules of the house that can only be seen by looking for what is absent: who imports what, and where it is named.

The tables are read as prose: each row has its reason. A row that no file needs is an error too.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "devicemgr"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "stubs" not in path.parts)
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py"))

VALUES = {"arguments", "model", "errors", "events", "resource_names"}
"""What everything may speak of."""
CONCURRENCY = {
    f"concurrency/{one}"
    for one in ("condition_variable", "exception_groups", "steps", "task_descriptions", "trio_program", "turns")
}
"""How tasks are written, for those who have some."""

# A room, what it may import of its own package, and why.
LAYERS: dict[str, tuple[set[str], str]] = {
    "arguments": (set(), "looks at the arguments of every public call, so it is below all of them"),
    "model": ({"arguments"}, "the values everything else speaks of"),
    "errors": (set(), "an error carries texts"),
    "events": ({"model"}, "a fact carries values"),
    "resource_names": (set(), "text → what counts as the name of a resource, or of a label"),
    "peer_limits": ({"arguments"}, "numbers that an embedder sets"),
    "quantity": (set(), "text → number"),
    "printable": (set(), "text → text"),
    "folding": (set(), "a line → lines"),
    "concurrency": (set(), "its first page imports nothing"),
    "concurrency/steps": (set(), "long work as a plain function: no await, no clock"),
    "concurrency/turns": ({"concurrency/steps"}, "the same work as a task among others"),
    "concurrency/condition_variable": (set(), "how tasks wait for a change of any state"),
    "concurrency/exception_groups": ({"errors"}, "a nursery's group → the error that a caller can catch"),
    "concurrency/trio_program": ({"errors"}, "Trio's error → ours, which says what to do"),
    "concurrency/task_descriptions": (set(), "texts, and the functions they belong to"),
    "lazy_names": (set(), "a package's names → where they are"),
    "version": (set(), "asked for by programs, the command line and the metrics"),
    "rules": (set(), "the book cites the code, and never the other way round"),
    "node_resources": ({"model", "resource_names", "quantity"}, "resources that somebody states by name and quantity"),
    "kubernetes_versions": (set(), "texts that a file, the command line and a program give"),
    "input": (set(), "its first page imports nothing"),
    "input/yaml_fields": ({"errors"}, "a field says where in the file it is wrong"),
    "input/kubeconfig": ({"errors", "input/yaml_fields"}, "files → an API server, and who one is there"),
    "input/pod_kinds": ({"input/yaml_fields"}, "where the pod is in an object"),
    "input/manifest": (
        {"errors", "model", "input/pod_kinds", "quantity", "resource_names", "input/yaml_fields"},
        "a file → pods, by the rules of the API server",
    ),
    "input/node_config": (
        {"errors", "kubernetes_versions", "model", "node_resources", "input/yaml_fields"},
        "a file → what the kubelet is told",
    ),
    "temporary_directory": ({"errors"}, "a directory, and those that were left"),
    "user_directories": (set(), "where the user's own files are"),
    "input/trace_file": ({"errors", "events"}, "a file → events, as they were recorded"),
    "core": (
        VALUES | {"printable", "folding", "concurrency/steps"},
        "decisions: values in, values and events out; it knows of no wire and no task",
    ),
    "rpc": (
        VALUES - {"resource_names"} | CONCURRENCY - {"concurrency/trio_program"} | {"peer_limits"},
        "messages ↔ values; it decides nothing, so it does not know core",
    ),
    "daemon": (
        VALUES
        | CONCURRENCY
        | {"core", "rpc", "peer_limits", "version", "kubernetes_versions", "input/manifest", "node_resources", "rules"}
        | {"printable"},
        "decides with core and speaks with rpc; an embedder may admit a manifest and state resources; "
        "the page quotes the book",
    ),
    "testing": (
        VALUES
        | CONCURRENCY - {"concurrency/steps", "concurrency/task_descriptions", "concurrency/turns"}
        | {"cluster", "core", "rpc", "daemon"}
        | {"input/kubeconfig", "lazy_names", "printable", "temporary_directory", "input/yaml_fields"},
        "runs a manager, and shows what others have said; it does not know the command line",
    ),
    "cluster": (
        VALUES
        | CONCURRENCY - {"concurrency/steps", "concurrency/task_descriptions", "concurrency/turns"}
        | {"core", "daemon"}
        | {"input/kubeconfig", "lazy_names", "quantity", "temporary_directory", "user_directories", "version"},
        "a manager as a node of a real cluster: objects of the API ↔ values",
    ),
    "cli": (
        VALUES
        | {"cluster", "core", "rpc", "daemon", "testing", "peer_limits", "rules", "version"}
        | {"concurrency/exception_groups", "folding"}
        | {"kubernetes_versions", "input/manifest", "input/node_config", "node_resources", "printable"}
        | {"temporary_directory", "input/trace_file", "input/yaml_fields", "user_directories"},
        "options and files → calls; nothing imports it",
    ),
    "__init__": (
        {"core", "daemon", "errors", "events", "model", "peer_limits", "rpc", "lazy_names", "version"},
        "the public names",
    ),
    "__main__": ({"cli"}, "python -m devicemgr"),
}
# An outside package, the rooms that may import it, and why.
ONLY_IN: dict[str, tuple[set[str], str]] = {
    "h2": ({"rpc/transport"}, "HTTP/2 is spoken in one place"),
    "hpack": (set(), "a part of h2 that nobody has to name"),
    "hyperframe": ({"rpc/transport"}, "a part of h2"),
    "grpclib": ({"rpc"}, "the interface of generated code"),
    "betterproto2": ({"rpc"}, "the messages of generated code"),
    "asyncio": (set(), "Trio all the way down; grpclib's transport, which needs it, is not used"),
    "trio_asyncio": (set(), "the same"),
    "yaml": ({"input/yaml_fields"}, "a value of a file knows its line"),
    "click": ({"cli"}, "options are the command line's"),
    "rich": ({"cli"}, "so are tables"),
    "inotify_simple": ({"daemon/file_watch", "daemon/plugins"}, "files of ours are watched, and plug-ins' sockets"),
    "prometheus_client": ({"daemon/serving"}, "metrics are the event log, counted"),
    "h11": ({"daemon/serving"}, "HTTP for the metrics"),
    "hypercorn": ({"daemon/page"}, "HTTP for browsers, which the metrics do without"),
    "starlette": ({"daemon/page"}, "the same"),
    "httpcore2": ({"cluster"}, "the API server is spoken to in one place"),
    "fnv_hash_fast": ({"core/checkpoint"}, "the checkpoint's checksum"),
    "pytest": ({"testing/pytest_plugin"}, "everything else of testing works without it"),
    "pytest_trio": ({"testing/pytest_plugin"}, "so does it without Trio tests"),
    "google": (set(), "a second protobuf runtime is for tests, to compare with"),
    "grpc": (set(), "so is a second gRPC"),
}
PURE_MAY_NOT_IMPORT = {"trio", "time", "os", "pathlib", "logging", "socket", "datetime"}


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    """``devicemgr.core.devices`` for ``devicemgr/core/devices/__init__.py``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(path: Path) -> str:
    return room_of_module(module_of(path))


def room_of_module(module: str) -> str:
    """A file or folder of the package; or a file in a folder of which each file has a row of its own."""
    _, room, *inside = module.split(".") if "." in module else (module, "__init__")
    return f"{room}/{inside[0]}" if inside and f"{room}/{inside[0]}" in LAYERS else room


def is_in(path: Path, rooms: set[str]) -> bool:
    """Is it one of these folders or files, or below one of them?"""
    where = path.relative_to(PACKAGE).with_suffix("").as_posix()
    return any(f"{where}/".startswith(f"{room}/") for room in rooms)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> list[tuple[str, str]]:
    """(module, name) of every import, also inside functions and for type checkers; the name is empty for a module."""
    found: list[tuple[str, str]] = []
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found += [(module, alias.name) for alias in node.names]
    return found


FILES = {module_of(path): path for path in PACKAGE.rglob("*.py")}
"""By their modules."""


@cache
def of_ours(path: Path) -> set[str]:
    """The modules of the package that this file imports."""
    named = {f"{module}.{name}" if f"{module}.{name}" in FILES else module for module, name in imports_of(path)}
    return named & FILES.keys()


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=place)


@each(SOURCES)
def test_imports_go_one_way(path):
    room = room_of(path)
    allowed, reason = LAYERS[room]
    for module in of_ours(path) - {"devicemgr"}:
        other = room_of_module(module)
        assert other == room or other in allowed, f"{room} must not import {other}: {reason}"


@each(SOURCES)
def test_an_outside_package_is_imported_in_its_rooms_only(path):
    for module, _ in imports_of(path):
        rooms, reason = ONLY_IN.get(module.split(".")[0], ({""}, ""))
        assert rooms == {""} or is_in(path, rooms), f"only {sorted(rooms)} may import {module}: {reason}"


@each([path for path in SOURCES if is_in(path, {"core", "daemon/plugins", "daemon/pods"})])
def test_registration_lists_and_allocation_are_read_without_meeting_a_limit(path):
    """Limits are kept at the border, in ``rpc`` and ``daemon/access``. Behind it one object answers for all of them."""
    limits = {module for module in of_ours(path) if re.match(r"devicemgr\.(peer_limits|daemon\.access)", module)}
    kubelets_own = {"devicemgr.daemon.access.rate_limit"}  # of the PodResources API (PR-2)
    assert limits - kubelets_own <= {"devicemgr.daemon.access.control"}


@each(SOURCES)
def test_only_one_place_records_that_a_peer_does_too_much(path):
    """It limits the rate of these events."""
    if not is_in(path, {"events", "daemon/access/reports"}):
        events = {"PeerLimitReached", "CallsDenied", "ConnectionBroken"}
        assert not [name for module, name in imports_of(path) if name in events and module.startswith("devicemgr")]


def test_no_row_of_the_tables_is_needless():
    used: dict[str, set[str]] = {room: set() for room in LAYERS}
    for path in SOURCES:
        used[room_of(path)] |= {room_of_module(module) for module in of_ours(path) - {"devicemgr"}}
    assert {room: used[room] - {room} for room in LAYERS} == {room: allowed for room, (allowed, _) in LAYERS.items()}
    for package, (rooms, _) in ONLY_IN.items():
        users = [path for path in SOURCES if package in {module.split(".")[0] for module, _ in imports_of(path)}]
        assert {room for room in rooms if any(is_in(path, {room}) for path in users)} == rooms, package


def cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """One way round for each node from which there is one."""
    for start in graph:
        ways = [[start]]
        seen = {start}
        while ways:
            way = ways.pop(0)
            for after in sorted(graph[way[-1]]):
                if after == start:
                    yield [*way, start]
                    ways = []
                    break
                if after not in seen:
                    seen.add(after)
                    ways.append([*way, after])


def test_no_modules_import_each_other():
    """In no way: neither inside functions nor for type checkers only."""
    graph = {module_of(path): of_ours(path) - {module_of(path)} for path in SOURCES}
    graph = {module: {after for after in imported if after in graph} for module, imported in graph.items()}
    assert [" → ".join(way) for way in cycles(graph)] == []


BOTH_WAYS = {
    "daemon": "one folder has the faults that calls consult, and those that act on a manager",
    "testing": "pytest and the command line have the options of the checks without importing the checks",
}


@pytest.mark.parametrize("folder", sorted({path.parent for path in SOURCES}), ids=place)
def test_what_lies_side_by_side_is_imported_one_way(folder):
    """Whatever is in a folder counts as one: where ``shared/`` imports from ``terminal/``, nothing goes back."""
    graph: dict[str, set[str]] = {child.stem: set() for child in folder.iterdir() if FILES.keys() & {inside(child)}}
    inner = f"{inside(folder)}."
    for module, path in FILES.items():
        if module.startswith(inner) and path in SOURCES:
            others = {other.removeprefix(inner).split(".")[0] for other in of_ours(path) if other.startswith(inner)}
            own = module.removeprefix(inner).split(".")[0]
            graph[own] |= others - {own}
    is_one_way = list(cycles(graph)) == []
    assert is_one_way is (place(folder).removeprefix("devicemgr/") not in BOTH_WAYS), list(cycles(graph))


def inside(path: Path) -> str:
    """The module of a file or a folder."""
    return module_of(path / "__init__.py" if path.is_dir() else path)


def test_a_circle_is_found():
    assert list(cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == [["b", "c", "b"], ["c", "b", "c"]]


@each([*SOURCES, *TESTS])
def test_nobody_imports_what_is_private_to_another_file(path):
    ours = [(module, name) for module, name in imports_of(path) if module.split(".")[0] in ("devicemgr", "tests")]
    assert [one for one in ours if re.match("_(?!_)", one[1]) or re.search(r"\._(?!_)", one[0])] == []


@each(TESTS)
def test_a_test_that_fails_does_not_wait_for_its_program(path):
    """``with Popen(…)`` waits, without end, and hides why: ``tests.processes.running`` ends the program."""
    nodes = list(ast.walk(parsed(path)))
    entered = [item.context_expr for node in nodes if isinstance(node, ast.With) for item in node.items]
    entered += [
        one for node in nodes if isinstance(node, ast.Call) and calls(node, "enter_context") for one in node.args
    ]
    waits = [node.lineno for node in entered if isinstance(node, ast.Call) and calls(node, "Popen")]
    assert len(waits) == (path == ROOT / "tests" / "processes.py"), waits


def calls(node: ast.Call, name: str) -> bool:
    return ast.unparse(node.func).split(".")[-1] == name


@each([path for path in SOURCES if is_in(path, {"core", "cluster/objects"})])
def test_the_core_is_pure(path):
    assert not [n for n in ast.walk(parsed(path)) if isinstance(n, ast.AsyncFunctionDef | ast.Await)]
    writes_times = {"datetime"} if is_in(path, {"cluster/objects/times"}) else set()
    assert not (PURE_MAY_NOT_IMPORT - writes_times) & {module.split(".")[0] for module, _ in imports_of(path)}


@each([path for path in SOURCES if is_in(path, {"core", "cluster/objects"})])
def test_the_core_reaches_no_trio(path):
    """Nor does anything that it imports: the decisions can be had without a scheduler."""
    reached, found = {path}, [path]
    while found:
        new = {FILES[module] for module in of_ours(found.pop())} - reached
        reached |= new
        found += new
    assert not [place(one) for one in reached if "trio" in {module.split(".")[0] for module, _ in imports_of(one)}]


@each(SOURCES)
def test_no_function_declares_a_global_that_changes(path):
    assert not [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Global)]


@each(sorted({path.parent / "__init__.py" for path in SOURCES}))
def test_a_folders_first_page_names_each_of_its_files_once(path):
    """A line for each, which begins with its name: ``store``, ``devices/``. The pages of the book have a table of
    contents of their own."""
    named = re.findall(r"^``([\w.]+/?)``  +\S.*$", ast.get_docstring(parsed(path)) or "", re.MULTILINE)
    inside = [one for one in path.parent.iterdir() if one.name != "__pycache__" and one.suffix != ".md"]
    files = [one.name.removesuffix(".py") for one in inside if one.is_file() and one != path and one.name != "py.typed"]
    assert sorted(named) == sorted([*files, *(f"{one.name}/" for one in inside if one.is_dir())])


def test_every_file_that_is_no_module_is_in_the_wheel():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["devicemgr"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files - packed == {PACKAGE / "rpc" / "stubs" / "py.typed"}  # betterproto2 makes it; the package has its own
