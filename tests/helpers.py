"""What tests in many places need: a pod, a short way to a function of ours, a small disk, and to wait until something
happened."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager

import pytest
import trio

from devicemgr import Container, Pod
from devicemgr.concurrency.steps import run_steps
from devicemgr.core.checkpoint.own_section import format_section, pod_fragment
from devicemgr.input.node_config import parse_node_configs
from devicemgr.model import DeviceList

GPU, NIC, FPGA = "vendor.com/gpu", "vendor.com/nic", "vendor.com/fpga"


def pod(name="p", *containers, **limits):
    """A pod with these containers; or with one called main and its limits: ``pod("a", gpu=2, nic=1)``, or by their
    whole names; or one GPU."""
    if not containers:
        wanted = {name if "/" in name else f"vendor.com/{name}": n for name, n in (limits or {"gpu": 1}).items()}
        containers = (Container(name="main", limits=wanted),)
    return Pod(name=name, uid=name, containers=containers)


def result_of(coroutine):
    """What it returns, in a run of its own. On a busy machine, what takes no time may let other tasks run."""

    async def run():
        return await coroutine

    return trio.run(run)


def undescribed(names):
    """Those of tasks and calls for which nobody has written a description: Trio's own are the paths of functions."""
    return {name for name in names if name == "call" or re.fullmatch(r"[\w.]+\.[\w.<>]+", name)}


async def until(manager, condition):
    """Wait until it holds; it is looked at again after each event."""
    sequence = 0
    while not condition():
        sequence, _ = (await manager.events_after(sequence, wait=True))[-1]


def apply_list(store, resource, generation, devices):
    """A whole list of a plug-in is taken over at once; returns the events."""
    whole = devices if isinstance(devices, DeviceList) else DeviceList(devices=list(devices))
    return run_steps(store.applying(resource, generation, whole))


def render_section(section):
    """The text of our section of a checkpoint, with nothing kept from earlier."""
    pods = map(pod_fragment, section.pods)
    return format_section(pods, section.options, section.removed, section.unconfirmed, boot_id=section.boot_id)


def parse_node_config(text, *, file):
    return parse_node_configs([(file, text)])


@contextmanager
def small_disk(directory, size):
    """A file system of that size; skips where that is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
