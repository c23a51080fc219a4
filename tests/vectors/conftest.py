"""``--vectors FILE`` and one test per case; a group without a runner is one skipped test."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

DEFAULT = Path(__file__).parent / "kubelet-vectors.json"


@pytest.fixture
def vector_file(request):
    return Path(request.config.getoption("--vectors") or DEFAULT)


def pytest_generate_tests(metafunc):
    if "vector_case" not in metafunc.fixturenames:
        return
    groups = json.loads(Path(metafunc.config.getoption("--vectors") or DEFAULT).read_text())["groups"]
    known = metafunc.module.RUNNERS
    params = []
    for group, cases in groups.items():
        if group in known:
            params += [pytest.param(group, case, id=f"{group}-{case['id']}") for case in cases]
        else:
            params.append(pytest.param(group, len(cases), id=group))
    metafunc.parametrize(("vector_group", "vector_case"), params)


def pytest_terminal_summary(terminalreporter, config):
    """When the vectors are run alone, their groups are counted."""
    if not all("vectors" in argument for argument in config.args):
        return
    groups = json.loads(Path(config.getoption("--vectors") or DEFAULT).read_text())["groups"]
    counts = {name: Counter() for name in groups}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            _, _, case = report.nodeid.partition("test_case[")
            group = case.partition("-")[0].removesuffix("]")
            if group in counts:
                counts[group][outcome] += 1
    terminalreporter.section("vectors, by group")
    for name, found in counts.items():
        words = ", ".join(f"{count} {outcome}" for outcome, count in found.items()) or "not run"
        terminalreporter.write_line(f"{name:36} {len(groups[name]):4} cases: {words}")
