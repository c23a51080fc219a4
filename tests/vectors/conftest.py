"""``--vectors FILE`` and one test per case; a group without a runner is one skipped test."""

from __future__ import annotations

import json
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
