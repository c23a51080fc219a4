"""What a test starts ends with the test."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import running

FOR_EVER = [sys.executable, "-c", "import time; print(flush=True); time.sleep(3600)"]


def test_a_program_is_ended_by_what_fails_beside_it():
    with pytest.raises(AssertionError, match="the reason"):
        with running(FOR_EVER, stdout=subprocess.PIPE) as program:
            assert program.stdout.readline()
            raise AssertionError("the reason")
    assert program.returncode == -9


def test_the_status_of_one_that_has_ended_stays():
    with running([sys.executable, "-c", "raise SystemExit(7)"]) as program:
        assert program.wait() == 7
    assert program.returncode == 7
