"""The settings are stated once: what is added to them is an argument of a program and an option of the daemon."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import dataclass, fields

import click
import pytest
from click.testing import CliRunner

from devicemgr import Callers, Deadlines, PeerLimits, open_device_manager
from devicemgr.arguments import Seconds
from devicemgr.cli.daemon.options import settings_options
from devicemgr.daemon.settings import Option, Settings, option_field, takes_fields_of


@dataclass(frozen=True, slots=True, kw_only=True)
class More(Settings):
    """Settings with one more of everything."""

    nap: Seconds = option_field(7.0, Option("--nap", "How long to sleep.", "SECONDS"))
    lazy: bool = option_field(False, Option("--lazy", "Sleep longer."))
    secret: int = 3


@takes_fields_of(More)
def settings_of(settings: More) -> More:
    """The function's own words."""
    return settings


def run_with(settings, *arguments):
    given = {}
    command = click.Command("daemon", callback=given.update, params=[*settings_options(settings)])
    result = CliRunner().invoke(command, arguments)
    return result, given


def test_an_added_setting_is_an_argument_and_an_option():
    assert settings_of("root", nap=8.0).nap == 8.0
    with pytest.raises(ValueError, match=r"^settings_of\(\): nap=-1: must be at least 0"):
        settings_of("root", nap=-1)
    assert "The function's own words.\n\nSettings with one more" in settings_of.__doc__
    result, given = run_with(More, "--nap", "9", "--lazy")
    assert (result.exit_code, given["nap"], given["lazy"]) == (0, 9.0, True)
    help, _ = run_with(More, "--help")
    assert "--nap SECONDS" in help.output
    assert "[default: 7.0" in help.output
    assert "secret" not in help.output


def test_the_options_do_without_grpc():
    """It takes longer to import than all else that ``--help`` needs."""
    program = "import sys, devicemgr.cli.daemon.options; print({'grpclib', 'betterproto2', 'h2'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


def test_the_fields_are_the_arguments_of_a_manager_and_the_rest_of_the_command_line_changes_nothing():
    assert [*inspect.signature(open_device_manager).parameters] == [field.name for field in fields(Settings)]
    result, given = run_with(Settings)
    assert result.exit_code == 0, result.output
    assert Settings("root", **given) == Settings("root")


def test_an_option_gives_the_value_of_its_field():
    arguments = ["--deadline", "allocate=5", "--peer-limit", "report_rate=2.5", "--peer-limit", "devices=7"]
    arguments += [
        "--allow-group",
        "1234",
        "--metrics-address",
        "[::1]:9400",
        "--page",
        ":8080",
        "--node-resource",
        "a.com/b=2Ki",
    ]
    _, given = run_with(Settings, *arguments, "--restart-wait", "3", "--kubernetes-version", "1.36", "--allow-faults")
    assert given == {
        "deadlines": Deadlines(allocate=5.0),
        "peer_limits": PeerLimits(report_rate=2.5, devices=7),
        "callers": Callers.default(1234),
        "metrics_address": ("::1", 9400),
        "page_address": ("", 8080),
        "node_resources": {"a.com/b": 2048},
        "restart_wait": 3.0,
        "kubernetes_version": "1.36",
        "allow_faults": True,
    }


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--deadline", "allocate=0", "must be a number of more than 0"),
        ("--deadline", "lunch=3", "write CALL=SECONDS, with CALL one of dial, options"),
        ("--peer-limit", "devices=1.5", "must be a whole number of more than 0"),
        ("--peer-limit", "message-size=99999999", "message-size (99999999) must be at most listed-size"),
        ("--allow-group", "4294967295", "a group's number is at most 4294967294"),
        ("--allow-group", "no-such-group", "there is no group 'no-such-group'"),
        ("--allow-group", "", "there is no group ''"),
        ("--metrics-address", "9400", "write HOST:PORT or :PORT"),
        ("--metrics-address", ":65536", "write HOST:PORT or :PORT, with a port of at most 65535"),
        ("--metrics-address", "", "write HOST:PORT or :PORT"),
        ("--page", "[::1:8080", "write HOST:PORT or :PORT"),
        ("--node-resource", "a.com/b", "write NAME=COUNT"),
        ("--node-resource", "b=1", "'b' is not an extended resource name"),
        ("--kubernetes-version", "1.35", "'1.35' is not one of '1.36', '1.37'"),
        ("--restart-wait", "nan", "nan is no number of seconds"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_of_its_option(option, value, problem):
    result, _ = run_with(Settings, option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': " in result.output
    assert problem in result.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"root_dir": "x", "gracee": 3}, "got an unexpected keyword argument 'gracee'"),
        ({}, "missing a required argument: 'root_dir'"),
    ],
)
def test_arguments_that_there_are_not_are_errors_of_the_function(arguments, problem):
    with pytest.raises(TypeError, match=rf"^open_device_manager\(\) {problem}"):
        open_device_manager(**arguments)
