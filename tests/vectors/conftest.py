"""``--vectors FILE`` and one test per case; a group without a runner is one skipped test. Without the option, all files
of this folder are run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

DEFAULT = [Path(__file__).parent / name for name in ("kubelet-vectors.json", "kubelet-1.37-vectors.json")]


def files_of(config):
    given = config.getoption("--vectors")
    return [Path(given)] if given else DEFAULT


def groups_of(config):
    """The cases by group. No two files have a group in common."""
    found = {}
    for file in files_of(config):
        groups = json.loads(file.read_text())["groups"]
        assert not found.keys() & groups.keys()
        found |= groups
    return found


def pytest_generate_tests(metafunc):
    if "vector_file" in metafunc.fixturenames:
        metafunc.parametrize("vector_file", [pytest.param(file, id=file.stem) for file in files_of(metafunc.config)])
    if "vector_case" not in metafunc.fixturenames:
        return
    groups = groups_of(metafunc.config)
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
    groups = groups_of(config)
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
