"""Which answers to Allocate are the same, though they are not equal."""

from __future__ import annotations

import pytest

from devicemgr.model import DeviceSpec, RunOptions
from devicemgr.testing.conformance.checks.answers import first_difference, normalized

NODES = tuple(DeviceSpec(container_path=path, host_path=path) for path in ("/dev/full", "/dev/zero"))
ONE, OTHER = "3f2b8c1e-6a7d-4e0f-9b1a-2c3d4e5f6a7b", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
NONCE = "9e8d7c6b-5a49-3827-1605-f4e3d2c1b0a9"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (RunOptions(device_specs=NODES), RunOptions(device_specs=NODES[::-1]), True),
        (RunOptions(device_specs=NODES), RunOptions(device_specs=NODES[:1]), False),
        (RunOptions(device_specs=NODES[:1] * 2), RunOptions(device_specs=NODES[:1]), False),
        (RunOptions(envs={"IDS": "a,b"}), RunOptions(envs={"IDS": "b,a"}), True),
        (RunOptions(envs={"IDS": "a,b"}), RunOptions(envs={"IDS": "a,c"}), False),
        (RunOptions(annotations={f"cdi.k8s.io/{ONE}": "v"}), RunOptions(annotations={"cdi.k8s.io/7": "v"}), True),
        (RunOptions(annotations={"cdi.k8s.io/7": "v"}), RunOptions(annotations={"cdi.k8s.io/7": "w"}), False),
        (RunOptions(annotations={"a": "v"}), RunOptions(annotations={"b": "v"}), False),
        (RunOptions(envs={"TOKEN": NONCE}), RunOptions(envs={"TOKEN": OTHER}), True),
        (RunOptions(envs={"DEVICES": f"GPU-{ONE}"}), RunOptions(envs={"DEVICES": "GPU-" + "7" * 8 + ONE[8:]}), False),
        (RunOptions(envs={"COUNT": "1"}), RunOptions(envs={"COUNT": "2"}), False),
        (RunOptions(envs={"TOKEN": "q7Zk0vX2m9Lr4tBs"}), RunOptions(envs={"TOKEN": "h3Wd8nC1y6Pf5gJa"}), True),
        (RunOptions(envs={"D": "vendor-accelerator-0"}), RunOptions(envs={"D": "vendor-accelerator-1"}), False),
        (RunOptions(envs={"D": "VendorAccelerator10"}), RunOptions(envs={"D": "VendorAccelerator11"}), False),
    ],
)
def test_only_what_makes_a_difference_is_compared(one, other, is_same):
    known = {f"GPU-{ONE}", "GPU-" + "7" * 8 + ONE[8:]}
    assert (first_difference(normalized(one, known), normalized(other, known)) == "") is is_same
