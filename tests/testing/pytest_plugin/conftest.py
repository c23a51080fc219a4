"""The pytest plug-in as its users have it: a pytest of its own, in a directory of its own, with nothing imported."""

from __future__ import annotations

import os
import sys

import pytest

INI = "[pytest]\ntimeout = 300\n"


@pytest.fixture
def run(pytester, monkeypatch):
    """``run("def test_…", "--option", ini="setting = value")``: the result of a pytest in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))

    def run_one(source, *options, ini=""):
        pytester.makeini(INI + ini)
        if source:
            pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    return run_one
