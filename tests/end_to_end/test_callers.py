"""A plug-in of another user: kept out by permissions, turned away by its credentials, or let in by its group."""

from __future__ import annotations

import os

import pytest

from .nobody import NOBODY

GROUP = 54321
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as somebody else")


@pytest.fixture
def nobody(start, root_dir):
    """Starts it, in a group; a parent directory that everybody may pass is not what keeps it out."""
    root_dir.chmod(0o755)
    return lambda group: start("-m", "tests.end_to_end.nobody", root_dir, group)


def test_permissions_keep_a_stranger_out(daemon, nobody):
    daemon()
    nobody(NOBODY).wait_for("refused:  [Errno 13]")


def test_where_permissions_were_opened_credentials_keep_a_stranger_out(daemon, nobody, root_dir):
    manager = daemon()
    (root_dir / "device-plugins").chmod(0o777)
    (root_dir / "device-plugins" / "kubelet.sock").chmod(0o666)
    nobody(NOBODY).wait_for("Status.PERMISSION_DENIED")
    manager.wait_for("CallsDenied socket=device-plugins/kubelet.sock method=/v1beta1.Registration/Register pid=")
    assert any(f"uid={NOBODY}" in line for line in manager.lines)


def test_a_member_of_the_allowed_group_may_serve_devices(daemon, nobody, root_dir):
    manager = daemon("--allow-group", GROUP)
    nobody(GROUP).wait_for("registered")
    manager.wait_for("DeviceListApplied resource=nobody.example/gpu")
    assert (root_dir / "device-plugins" / "kubelet.sock").stat().st_gid == GROUP
    assert (root_dir / "device-plugins").stat().st_mode & 0o7777 == 0o1770, "each may remove only its own"


AS_NOBODY = """\
import os, sys
import devicemgr.cli.status.verb, devicemgr.cli.events, devicemgr.cli.tree, devicemgr.cli.plugin, trio.testing
os.setgroups([]); os.setgid(65534); os.setuid(65534)
devicemgr.cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize("verb", ["status", "events", "tree"])
def test_a_verb_without_permission_says_so(daemon, start, root_dir, verb):
    """By the directory's mode, and, where that was opened, by the credentials."""
    daemon()
    root_dir.chmod(0o755)
    kept_out = start("-c", AS_NOBODY, verb, "--root-dir", root_dir)
    assert kept_out.wait() == 1
    assert kept_out.lines[0].startswith(f"Error: user {NOBODY} may not reach {root_dir}/devicemgr/admin.sock. Run")
    (root_dir / "devicemgr").chmod(0o777)
    (root_dir / "devicemgr" / "admin.sock").chmod(0o666)
    turned_away = start("-c", AS_NOBODY, verb, "--root-dir", root_dir)
    assert turned_away.wait() == 1
    assert turned_away.lines[0].startswith(f"Error: user {NOBODY} may not call /devicemgr.v1.Admin/")


def test_a_simulated_plugin_without_permission_says_so(daemon, start, root_dir):
    daemon()
    for mode in (0o700, 0o755):
        root_dir.chmod(mode)
        (root_dir / "device-plugins").chmod(0o755)
        plugin = start("-c", AS_NOBODY, "plugin", "--resource", "vendor.com/gpu", "--root-dir", root_dir)
        assert plugin.wait() == 1
        assert plugin.lines[0].startswith(f"Error: user {NOBODY} may not use {root_dir}/device-plugins")


def test_a_group_that_does_not_exist_is_bad_usage(run):
    result = run("--allow-group", "no-such-group")
    assert result.returncode == 2
    assert "there is no group 'no-such-group'" in result.stderr


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        ("report-rate=0", "must be a number of more than 0"),
        ("message-size=1.5", "must be a whole number of more than 0"),
        ("listed-size=5", "message-size (16777216) must be at most listed-size (5): a list that may be sent"),
        ("report-burst=" + "9" * 400, "must be from 1 to"),
        ("time-share=2", "time-share must be from 0.01 to 1"),
        ("reports=3", "one of message-size"),
    ],
)
def test_peer_limits_that_let_nothing_through_are_bad_usage(run, limit, problem):
    result = run("--peer-limit", limit)
    assert result.returncode == 2
    assert problem in " ".join(result.stderr.split())
