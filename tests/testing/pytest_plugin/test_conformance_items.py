"""``pytest --device-plugin COMMAND``, with the options that ``check`` has."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import fields
from pathlib import Path

import pytest

from devicemgr.testing.check_options import CheckOptions
from devicemgr.testing.conformance import CHECKS

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).parent.parent.parent.parent / "examples" / "plugin.py"
COMMAND = f"{sys.executable} {EXAMPLE} {{dir}}"


def test_the_conformance_checks_are_test_items(run, tmp_path):
    report = tmp_path / "report.xml"
    result = run("", "--device-plugin", COMMAND, "-k", "registers or allocate", f"--junitxml={report}", "-v")
    result.assert_outcomes(passed=8, skipped=1, deselected=len(CHECKS) - 9)
    result.stdout.fnmatch_lines(["*allocate-unknown*PASSED*"])
    names = [case.get("name") for case in ElementTree.parse(report).iter("testcase")]
    assert names[:2] == ["registers", "registers-once"]


def test_a_failed_check_shows_its_evidence_and_the_fix(run):
    """In the paragraphs of ``check``."""
    plugin = f"""{sys.executable} -c 'print("4\\x1b[2J2")'"""
    result = run("", "--device-plugin", plugin, "-k", "registers")
    result.assert_outcomes(failed=1, skipped=2, deselected=len(CHECKS) - 3)
    assert "\x1b" not in result.stdout.str()
    assert max(map(len, result.outlines[-20:])) <= 80
    text = " ".join(" ".join(result.outlines).split())
    found = r"Found: the plug-in has ended, with exit status 0; its last output: 4\x1b[2J2"
    for paragraph in (CHECKS["registers"].title, found, *CHECKS["registers"].explanation, CHECKS["registers"].sources):
        assert paragraph in text


PLACED = """
resource: vendor.com/gpu
devices: [{count: 1, numa: [1]}]
"""


def test_a_warning_is_one_of_pytests(run, tmp_path):
    """It fails the item where warnings are errors, and with --device-plugin-strict, or the setting."""
    (tmp_path / "gpu.yaml").write_text(PLACED)
    plugin = f"{sys.executable} -m devicemgr plugin --script {tmp_path}/gpu.yaml --root-dir {{dir}}/.."
    usual = "--device-plugin", plugin, "--device-plugin-numa", "0", "--device-plugin-only", "numa-plausible"
    result = run("", *usual, "-Wdefault")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*ConformanceWarning: Names NUMA nodes*", "*Found: this machine has [[]0]; dev-0 on [[]1]*", "*Fix: *"]
    )
    run("", *usual, "-Werror").assert_outcomes(failed=1)
    run("", *usual, "--device-plugin-strict").assert_outcomes(failed=1)
    run("", *usual, ini="device_plugin_strict = true\n").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device-plugin", "./nope"], "ERROR: cannot start ./nope: there is no such program*"),
        (["--device-plugin", 'sh -c "'], "ERROR: --device-plugin 'sh -c \"' is no command: No closing quotation"),
        (["--device-plugin", ""], "ERROR: --device-plugin needs a command"),
        (["--device-plugin", "true", "--device-plugin-only", "nope"], "ERROR: nope: no such check; there are *"),
        (["--device-plugin", "true", "--device-plugin-patience=-1"], "ERROR: --device-plugin-patience: -1.0 is not*"),
        (["--device-plugin", "true", "--device-plugin-bind", "/x:y"], "ERROR: --device-plugin-bind: there is no /x"),
        (["--device-plugin", "true", "--device-plugin-kubeconfig=/x"], "ERROR: --device-plugin-kubeconfig: there is*"),
        (["--device-plugin", "true", "--device-plugin-restarts=1"], "ERROR: --device-plugin-restarts: 1 is not 5*"),
    ],
)
def test_what_cannot_be_run_is_one_error(run, options, told):
    result = run("def test_x(): pass", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])
    assert len(result.outlines + result.errlines) < 15


def test_a_program_that_does_not_start_is_one_failure(run, pytester):
    pytester.makefile("", bad="#!/nowhere\n").chmod(0o755)
    result = run("", "--device-plugin", "./bad", "-rs")
    result.assert_outcomes(failed=1, skipped=len(CHECKS) - 1)
    result.stdout.fnmatch_lines(["cannot start ./bad: No such file or directory"])
    assert len(result.outlines) < 80
    assert result.ret == 1


def test_every_option_of_check_is_there_and_a_setting_as_well(run):
    result = run("", "--help")
    for field in fields(CheckOptions):
        option = field.name.replace("_", "-")
        result.stdout.fnmatch_lines([f"  --device-plugin-{option}*"])
        result.stdout.fnmatch_lines([f"  device_plugin_{field.name}*"])


CHOSEN = "device_plugin_only = registers, restart\ndevice_plugin_patience = 0.3\n"


def test_the_configuration_file_says_what_the_command_line_does_not(run):
    silent = f"{sys.executable} -c 'import time; time.sleep(60)'"
    result = run("", "--device-plugin", silent, ini=CHOSEN)
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(["*within [0-9].[0-9] s*"])
    result = run(
        "",
        "--device-plugin",
        COMMAND,
        "--device-plugin-only",
        "registers",
        "--device-plugin-patience",
        "20",
        ini=CHOSEN,
    )
    result.assert_outcomes(passed=1)
    result = run("", "--device-plugin", COMMAND, ini="device_plugin_quiet_period = soon\n")
    result.stderr.fnmatch_lines(["ERROR: device_plugin_quiet_period = soon: this is not a number"])


def test_in_pyproject_toml_too(run, pytester):
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        device_plugin_only = ["registers", "restart"]
        device_plugin_skip = ["restart"]
        device_plugin_isolate = false
        """
    )
    run("", "--device-plugin", COMMAND, "-c", "pyproject.toml").assert_outcomes(passed=1)
