"""For which names of sockets a second has to pass before the plug-in is disrupted again."""

from __future__ import annotations

import pytest

from devicemgr.testing.conformance.observation.socket_names import differ_by_timestamp_only

NOW = 1_764_160_000.0  # 12:26:40 on 2025-11-26, UTC
UUIDS = ("5f0c1d1e-8a5b-4c7e-9d55-446655440000", "0b1f7a52-1764-4160-8e11-c0ffee001122")


def registered(*names, apart=3.0):
    return [(name, NOW + number * apart) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    "names",
    [
        ("nvidia-gpu-1764160000.sock", "nvidia-gpu-1764160003.sock"),
        ("nvidiaGPU-1764160000.sock", "nvidiaGPU-1764160003.sock"),
        pytest.param(("nvidiaGPU-1764159998.sock",), id="of one start it is not known what else changes"),
        ("gpu1764160000.sock", "gpu1764160003.sock"),
        ("gpu-692706c0.sock", "gpu-692706c3.sock"),
        ("x-20251126-122640.sock", "x-20251126-122643.sock"),
        ("x-20251126122640.sock", "x-20251126122643.sock"),
        ("x-2025-11-26T12:26:40.sock", "x-2025-11-26T12:26:43.sock"),
        ("x-122640.sock", "x-122643.sock"),
        pytest.param(("x-20251126-181140.sock", "x-20251126-181143.sock"), id="in Nepal"),
        pytest.param(("x-1764160000-a.sock", "x-1764160003-a.sock"), id="with what stays beside it"),
        pytest.param(("acme-1764160000-4242.sock",), id="what may be a pid has not been seen to change"),
    ],
)
def test_a_name_of_the_second_is_waited_for(names):
    assert differ_by_timestamp_only(registered(*names))


def test_also_when_the_date_changes_with_the_second():
    midnight = 1_764_201_600.0
    names = [("x-20251126-235959.sock", midnight - 1), ("x-20251127-000002.sock", midnight + 2)]
    assert differ_by_timestamp_only(names)


@pytest.mark.parametrize(
    "names",
    [
        ("gpu.sock", "gpu.sock"),
        ("acme-4242.sock", "acme-4251.sock"),
        ("acme-12345-1764160000123456789.sock", "acme-12399-1764160003123456789.sock"),
        ("x-1764160000123.sock", "x-1764160003123.sock"),
        ("x-1764160000-123456.sock", "x-1764160003-654321.sock"),
        ("x-20251126-122640.123.sock", "x-20251126-122643.456.sock"),
        ("acme-1764160000-4242.sock", "acme-1764160003-4251.sock"),
        tuple(f"acme-{uuid}.sock" for uuid in UUIDS),
        ("acme-1.sock", "acme-2.sock"),
        ("acme-1234567890.sock", "acme-1987654321.sock"),
        ("acme-deadbeef.sock", "acme-0badcafe.sock"),
        pytest.param(("x-235959.sock", "x-003001.sock"), id="another time of day"),
        pytest.param(("nvidia-gpu-1600000000.sock", "nvidia-gpu-1600000000.sock"), id="of a release"),
        (),
    ],
)
def test_one_that_has_something_finer_or_nothing_is_not(names):
    assert not differ_by_timestamp_only(registered(*names))
