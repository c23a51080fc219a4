"""Each example does what its first line says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import yaml

from devicemgr.input.manifest import parse_pods
from tests.helpers import parse_node_config
from tests.processes import HANGS

EXAMPLES = Path(__file__).parent.parent / "examples"


async def test_plugin_serves_four_cards_and_comes_back(manager):
    command = [sys.executable, str(EXAMPLES / "plugin.py"), str(manager.layout.plugins)]
    process = await trio.lowlevel.open_process(command)
    try:
        await manager.wait_for_resource("vendor.com/card", allocatable=4, timeout=HANGS)
        manager.layout.registration_socket.unlink()  # the manager makes it anew: to the plug-in, a restart
        again = "PluginRegistered"
        with trio.fail_after(HANGS):
            while [type(r.event).__name__ for r in manager.events()].count(again) < 2:
                await manager.events_after(len(manager.events()), wait=True)
        await manager.wait_for_resource("vendor.com/card", allocatable=4, timeout=HANGS)
    finally:
        process.kill()
        await process.wait()


def test_embed_prints_what_the_container_got():
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "embed.py"],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=True,
    )
    assert done.stdout.startswith("{'vendor.com/gpu': ('dev-0', 'dev-1')}\nResourceCounts(capacity=8, allocatable=8")
    assert done.stderr == ""


def test_without_trio_admits_from_plain_code_and_from_asyncio():
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "without_trio.py"],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=True,
    )
    plain, on_asyncio, counts = done.stdout.splitlines()
    assert plain == "plain: {'vendor.com/gpu': ('dev-0',)}"
    assert on_asyncio == "asyncio: 2 more"
    assert counts.startswith("ResourceCounts(capacity=4, allocatable=4, allocated=3")
    assert done.stderr == ""


def test_the_github_action_checks_a_plugin_with_the_lines_it_has(tmp_path):
    """The step itself, run by a shell, with our example plug-in in the place of the one it builds."""
    (job,) = yaml.safe_load((EXAMPLES / "github-action.yml").read_text())["jobs"].values()
    (step,) = [step for step in job["steps"] if step.get("name") == "check"]
    plugin = tmp_path / "plugin"
    plugin.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{EXAMPLES}/plugin.py" "$2"\n')
    plugin.chmod(0o755)
    quick = "check --quiet-period 1 --only registers,socket-deleted,endpoint-fresh"
    script = step["run"].replace("python -m", f'"{sys.executable}" -m').replace("check \\", f"{quick} \\")
    assert quick in script
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 0 failed" in done.stdout
    (upload,) = [step for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    assert all((tmp_path / name).stat().st_size for name in upload["with"]["path"].split())


def test_the_containers_entry_point_is_a_command_that_can_be_parsed():
    """No container engine is needed for that, and none is there in most places where this runs."""
    text = (EXAMPLES / "Containerfile").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("ENTRYPOINT ")]
    words = json.loads(line.removeprefix("ENTRYPOINT "))
    assert words[:3] == ["python", "-m", "devicemgr"]
    done = subprocess.run(
        [sys.executable, *words[1:-1], "--list"], capture_output=True, text=True, timeout=HANGS, cwd=EXAMPLES.parent
    )
    assert (done.returncode, "registers" in done.stdout) == (0, True)


def test_pod_and_node_config_are_valid():
    (pod,) = parse_pods((EXAMPLES / "pod.yaml").read_text(), file="pod.yaml")
    assert [container.name for container in pod.containers] == ["self-test", "trainer"]
    assert parse_node_config((EXAMPLES / "node-config.yaml").read_text(), file="node-config.yaml").device_plugins


def test_the_demo_tells_the_whole_story_and_leaves_nothing_behind(root_dir):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "devicemgr", "demo"],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=True,
        env={"TMPDIR": str(root_dir), "PATH": ""},
        cwd=EXAMPLES.parent,
    )
    for step in range(1, 8):
        assert f"\n{step}. " in f"\n{done.stdout}"
    assert done.stderr == ""
    assert list(root_dir.iterdir()) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) <= 85


@pytest.mark.parametrize("part", ["demo", "pytest"])
def test_every_import_is_clean(part):
    """What works in this program because something else was imported before must work in one of its own."""
    commands = {
        "demo": ["-W", "error", "-m", "devicemgr", "demo"],
        "pytest": ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "test_plugin.py")],
    }
    done = subprocess.run([sys.executable, *commands[part]], capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stdout + done.stderr
