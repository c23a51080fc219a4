"""Times, durations and requests, as Kubernetes writes them."""

from __future__ import annotations

import pytest

from devicemgr.cluster.objects.requests import pod_requests, quantities
from devicemgr.cluster.objects.times import micro_timestamp, parse_duration, parse_timestamp, timestamp


def test_times_are_written_as_in_the_api():
    assert timestamp(1795688049.999) == "2026-11-26T10:14:09Z"
    assert micro_timestamp(1795688049.000123) == "2026-11-26T10:14:09.000123Z"
    assert parse_timestamp("2026-11-26T10:14:09Z") == 1795688049
    assert parse_timestamp("2026-11-26T10:14:09.500000Z") == 1795688049.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1m30s", 90), ("1h", 3600), ("0.5s", 0.5), (".5s", 0.5), ("250ms", 0.25), ("0", 0), ("10us", 1e-5)],
)
def test_a_duration_of_go(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 s", "s", "5x", "1s2", "inf", "1" * 101 + "s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="is not a duration; write it as 5s"):
        parse_duration(text)


def test_cpu_is_counted_in_thousandths_and_fractions_are_rounded_up():
    given = {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1500m", "vendor.com/gpu": 2}
    assert quantities(given) == {"cpu": 500, "memory": 2**30, "ephemeral-storage": 2, "vendor.com/gpu": 2}
    assert quantities({"cpu": "0.0001"}) == {"cpu": 1}


def container(cpu: str, **more: object) -> dict:
    return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container("1"), container("2")]}, 3000),
        ({"containers": [container("1")], "initContainers": [container("5"), container("4")]}, 5000),
        ({"containers": [container("1")], "initContainers": [container("2", **SIDECAR)]}, 3000),
        # An init container runs beside the sidecars before it, and not beside those after it.
        ({"containers": [container("1")], "initContainers": [container("2", **SIDECAR), container("4")]}, 6000),
        ({"containers": [container("1")], "initContainers": [container("4"), container("2", **SIDECAR)]}, 4000),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": [container("1")], "resources": {"requests": {"cpu": "8"}}}, 8000),
        ({"containers": [{"name": "c"}]}, 0),
    ],
)
def test_a_pod_requests_the_most_that_runs_at_one_time(spec, cpu):
    assert pod_requests({"spec": spec})["cpu"] == cpu
