"""Types as a user's type checker sees them: the examples, the README's snippets and every exported name, strictly.

With what ``pip install '.[dev]'`` brings; ``.ci/run`` does it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import devicemgr
import devicemgr.cluster
import devicemgr.testing
from tests.processes import HANGS

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PREAMBLE = """\
from pathlib import Path

import devicemgr
import devicemgr.cluster
import devicemgr.testing
"""
FIXTURES = {
    "device_manager_sync": "devicemgr.BlockingManager",
    "kube": "devicemgr.testing.BlockingKube",
    "kube_node": "devicemgr.testing.BlockingKubeNode",
    "plugin_process": "devicemgr.testing.PluginProcessFactory",
}
WRONG = """\
from devicemgr import Container, DeviceManager, Pod, __version__, nothing  # wrong
from devicemgr.testing import nothing_either  # wrong
import devicemgr

devicemgr.no_such_name  # wrong
pod = Pod(name="x", uid="x", containers=(Container(name="main", limits={"vendor.com/gpu": 1}),))
Pod(name="x", uid=1, containers=())  # wrong
Container(name="main", limits={"vendor.com/gpu": "1"})  # wrong
devicemgr.open_device_manager(__version__, topology="restricted")  # wrong
devicemgr.open_device_manager("directory", topology=devicemgr.Topology(policy="restricted"))  # wrong


async def main(manager: DeviceManager) -> None:
    await manager.wait_for_resource("vendor.com/gpu", allocatable="4")  # wrong
    await manager.admit(3)  # wrong
    print(manager.capacity()["vendor.com/gpu"].capacity + "")  # wrong
"""


def snippets() -> list[str]:
    """The pages' Python, each block made a program: one that is no whole program is given what it speaks of."""
    pages = [ROOT / "README.md", *(ROOT / "devicemgr" / room / "README.md" for room in ("cluster", "testing"))]
    text = "".join(page.read_text() for page in pages)
    found = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(found) >= 5
    return [PREAMBLE + (_typed(text) if text.startswith("def ") else _inside(text)) for text in found]


def _typed(text: str) -> str:
    """A test, whose arguments are fixtures."""

    def annotated(match: re.Match[str]) -> str:
        names = match[2].split(", ")
        return f"{match[1]}({', '.join(f'{name}: {FIXTURES[name]}' for name in names)}) -> None:"

    return re.sub(r"^(def \w+)\(([^)]*)\):", annotated, text, flags=re.MULTILINE)


def _inside(text: str) -> str:
    """Statements of a function that has a directory, a pod and perhaps a manager."""
    given = "directory: Path, pod: devicemgr.Pod"
    if "as manager:" not in text:
        given += ", manager: devicemgr.DeviceManager"
    return f"async def snippet({given}) -> None:\n{textwrap.indent(text, '    ')}"


@pytest.fixture
def programs(tmp_path) -> Path:
    """A user's project, that imports devicemgr."""
    for path in EXAMPLES:
        (tmp_path / path.name).write_text(path.read_text())
    for number, text in enumerate(snippets()):
        (tmp_path / f"snippet_{number}.py").write_text(text)
    names = [
        (module.__name__, name)
        for module in (devicemgr, devicemgr.cluster, devicemgr.testing)
        for name in module.__all__
    ]
    imports = [f"from {module} import {name} as {name}" for module, name in names]
    (tmp_path / "names.py").write_text("\n".join([*imports, "from devicemgr import __version__ as __version__", ""]))
    (tmp_path / "wrong.py").write_text(WRONG)
    return tmp_path


def mypy(directory: Path) -> set[tuple[str, int]]:
    pytest.importorskip("mypy", reason="mypy is not installed: pip install '.[dev]'")
    files = sorted(path.name for path in directory.glob("*.py"))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", *files]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, env=environment, timeout=HANGS)
    print(done.stdout, done.stderr)
    assert done.returncode in (0, 1), done.stderr
    return {(file, int(line)) for file, line in re.findall(r"^([\w.]+):(\d+): error", done.stdout, re.MULTILINE)}


def pyright(directory: Path) -> set[tuple[str, int]]:
    pytest.importorskip("pyright", reason="pyright is not installed: pip install '.[dev]'")
    unused = {"reportUnusedImport": False, "reportUnusedVariable": False}  # a snippet ends when it has shown something
    settings = {"include": ["."], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict", **unused}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, timeout=HANGS)
    if not done.stdout.lstrip().startswith("{"):
        pytest.skip(f"pyright cannot be had here: it needs node, and its npm package: {done.stderr.strip()[-300:]}")
    print(done.stdout)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in found if one["severity"] == "error"}


@pytest.mark.parametrize("check", [mypy, pyright])
def test_programs_are_typed_and_what_is_wrong_is_found(check, programs):
    lines = WRONG.splitlines()
    assert check(programs) == {("wrong.py", number) for number, line in enumerate(lines, 1) if "# wrong" in line}


def test_the_version_is_that_of_the_distribution():
    assert re.fullmatch(r"\d+(\.\d+)+", devicemgr.__version__)
