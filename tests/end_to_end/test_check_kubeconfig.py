"""``check --kubeconfig`` with a plug-in that asks an API server, in both ways in which programs find one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devicemgr.input.kubeconfig import HIDDEN
from devicemgr.testing.conformance.subject.isolation import isolated
from tests.fake_api_server import TOKEN, api_server

HERE = Path(__file__).parent
NAMESPACE = "gpu-operator"
ALLOWED = subprocess.run(isolated(["true"], []), capture_output=True)
needs_namespaces = pytest.mark.skipif(ALLOWED.returncode != 0, reason=f"not allowed here: {ALLOWED.stderr.decode()}")
BY_KUBECONFIG = ("--", sys.executable, HERE / "asks_api_server.py", "{dir}", "kubeconfig")
IN_A_POD = (
    "--isolate",
    "--",
    sys.executable,
    HERE / "asks_api_server.py",
    "/var/lib/kubelet/device-plugins",
    "in-cluster",
)
BOTH = [pytest.param(BY_KUBECONFIG, id="KUBECONFIG"), pytest.param(IN_A_POD, id="in a pod", marks=needs_namespaces)]
QUICK = ("--quiet-period", "1", "--only", "allocate-answers,allocate-concurrent")


@pytest.fixture
def kubeconfig(root_dir):
    """That of an API server which has one pod."""
    path = root_dir / "config"
    pod = {"kind": "Pod", "metadata": {"name": "pending"}}
    with api_server({f"/api/v1/namespaces/{NAMESPACE}/pods/pending": pod}, path, namespace=NAMESPACE):
        yield path


@pytest.fixture(autouse=True)
def scratch(tmp_path, root_dir, monkeypatch):
    """Where everything temporary is made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("GITHUB_ACTIONS", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    (root_dir / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(root_dir / "t"))
    return root_dir / "t"


@pytest.mark.parametrize("plugin", BOTH)
def test_a_plugin_that_asks_one_is_checked_like_any_other(run, kubeconfig, scratch, plugin):
    done = run("check", *QUICK, "--kubeconfig", kubeconfig, *plugin)
    assert done.returncode == 0, done.stdout
    assert "2 passed, 0 failed, 0 skipped" in done.stdout
    assert list(scratch.iterdir()) == [], "no file stays"


@pytest.mark.parametrize("plugin", BOTH)
def test_without_an_api_server_the_option_is_suggested(run, plugin):
    done = run("check", *QUICK, *plugin)
    assert done.returncode == 2
    said = " ".join(done.stdout.split())
    assert "Allocate asks an API server, and has none here (--kubeconfig FILE gives it one)" in said


def test_kubeconfig_is_suggested_if_the_plugin_cannot_start(run, kubeconfig):
    plugin = "echo unable to load in-cluster configuration >&2; exit 1"
    hint = "Does it need an API server to start? Then use --kubeconfig."
    assert hint in run("check", *QUICK, "--", "sh", "-c", plugin).stdout
    assert hint not in run("check", *QUICK, "--kubeconfig", kubeconfig, "--", "sh", "-c", plugin).stdout
    assert hint not in run("check", *QUICK, "--", "false").stdout


@pytest.mark.parametrize("plugin", BOTH)
def test_one_that_does_not_answer_is_named_as_the_cause(run, kubeconfig, plugin):
    kubeconfig.write_text(kubeconfig.read_text().replace(NAMESPACE, "another"))
    done = run("check", *QUICK, "--kubeconfig", kubeconfig, *plugin)
    assert done.returncode == 2
    said = " ".join(done.stdout.split())
    assert "Allocate asks the API server of --kubeconfig, and does not get what it needs from it" in said
    assert f"HTTP Error 404: Not Found for {HIDDEN}" in said


@needs_namespaces
def test_no_report_has_a_secret_and_no_other_user_can_read_one(run, kubeconfig, tmp_path):
    junit, trace, log = (tmp_path / name for name in ("junit", "trace", "log"))
    reports = ("--show-output", "--junit", junit, "--trace", trace, "--plugin-log", log)
    done = run("check", *QUICK, *reports, "--kubeconfig", kubeconfig, *IN_A_POD)
    assert done.returncode == 0, done.stdout
    for text in (done.stdout, done.stderr, *(path.read_text() for path in (junit, trace, log))):
        assert TOKEN not in text
    assert f'"TOKEN": "{HIDDEN}"' in trace.read_text()
    for text in (done.stdout, log.read_text()):
        assert f"Authorization: Bearer {HIDDEN}" in text
        for line in ("serviceaccount: 700", "token: 600", "ca.crt: 600", "namespace: 600"):
            assert line in text


@needs_namespaces
def test_no_file_stays_when_a_signal_ends_it(start, kubeconfig, scratch):
    program = start(
        *("-m", "devicemgr", "check", "--quiet-period", "60", "--only", "registers,first-list-complete"),
        *("--kubeconfig", kubeconfig, *IN_A_POD),
    )
    program.wait_for("passed  registers")
    assert any(path.name == "token" for path in scratch.rglob("*"))
    assert program.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert list(scratch.iterdir()) == []


@needs_namespaces
def test_pytest_and_the_options_file_take_it_too(run, kubeconfig, root_dir):
    for options in (f'kubeconfig = "{kubeconfig}"\nonly = ["allocate-answers"]', 'kubeconfig = "/no such"'):
        (root_dir / "check.toml").write_text(options)
        done = run("check", "--config", root_dir / "check.toml", *IN_A_POD)
        assert done.returncode == (0 if "no such" not in options else 2), done.stdout
    assert done.stderr == "Error: kubeconfig: there is no /no such\n"
    command = " ".join(map(str, IN_A_POD[2:]))
    options = ("--device-plugin-isolate", "--device-plugin-only", "allocate-answers", "-p", "no:cacheprovider")
    (root_dir / "pytest.ini").write_text(f"[pytest]\ndevice_plugin_kubeconfig = {kubeconfig}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--device-plugin", command, *options, "--rootdir", root_dir],
        cwd=root_dir,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
