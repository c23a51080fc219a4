"""What the machine says of itself."""

from __future__ import annotations

import socket

import pytest

from devicemgr.cluster.node import host
from devicemgr.cluster.objects.lease import ended_with_a_reboot
from devicemgr.cluster.objects.node_info import Machine

FIRST, SECOND = "8a5b3a0e-6a4f-4b6e-9f6e-0d0f5a1c2b3d", "1c2d3e4f-6a4f-4b6e-9f6e-0d0f5a1c2b3d"
MACHINE = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def holder_on(monkeypatch, tmp_path):
    def holder_on(boot: str, machine: str = "", uuid: str = "", root: str = "kubelet") -> str:
        found = Machine(architecture="amd64", boot_id=boot, machine_id=machine, system_uuid=uuid)
        monkeypatch.setattr(host, "read_machine", lambda: found)
        (tmp_path / root).mkdir(parents=True, exist_ok=True)
        return host.holder(tmp_path / root)

    return holder_on


def test_agents_on_two_machines_of_one_name_in_directories_of_one_name_are_two(holder_on, tmp_path):
    assert holder_on(FIRST) == holder_on(FIRST)
    assert f":{tmp_path}/kubelet#" in holder_on(FIRST)
    assert holder_on(FIRST) != holder_on(SECOND)
    assert not ended_with_a_reboot(holder_on(FIRST), holder_on(SECOND))


def test_agents_in_two_containers_of_one_machine_are_two(holder_on, tmp_path):
    """Both with the network of the machine, and so with its name."""
    first = holder_on(FIRST, MACHINE)
    assert holder_on(FIRST, MACHINE) == first
    (tmp_path / "kubelet").rename(tmp_path / "other")
    assert holder_on(FIRST, MACHINE) != first
    assert not ended_with_a_reboot(first, holder_on(FIRST, MACHINE))


def test_an_agent_before_and_after_a_reboot(holder_on, tmp_path):
    before = holder_on(FIRST, MACHINE, "uuid")
    assert ended_with_a_reboot(before, holder_on(SECOND, MACHINE, "uuid"))
    for other in (
        holder_on(FIRST, MACHINE, "uuid"),
        holder_on(SECOND, MACHINE, "another"),
        holder_on(SECOND, MACHINE[::-1], "uuid"),
        holder_on(SECOND, "uninitialized", "uuid"),
        holder_on(SECOND, MACHINE, "uuid", "elsewhere"),
        "somebody else",
    ):
        assert not ended_with_a_reboot(before, other)
        assert not ended_with_a_reboot(other, before)
    (tmp_path / "kubelet").rename(tmp_path / "other")
    assert ended_with_a_reboot(before, holder_on(SECOND, MACHINE, "uuid")), "its disk has another number by now"


def test_two_directories_are_two_agents_however_they_are_called(holder_on):
    one, other = (holder_on(FIRST, MACHINE, root=f"a/01234567/{name}:/b") for name in ("01", "02"))
    assert not ended_with_a_reboot(one, other)


@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
def test_the_address_from_which_a_server_is_reached(server):
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    try:
        with socket.socket(family) as own:
            own.bind((server, 0))
    except OSError:
        pytest.skip(f"this machine has no {server}")
    assert host.own_address(server, 6443) == server


def test_the_address_where_no_server_can_be_reached():
    assert host.own_address("no-such-host.invalid", 6443) == "127.0.0.1"
