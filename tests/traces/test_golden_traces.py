"""Golden traces: a scenario is a file of steps, and under each step the events it caused.

The file name is the scenario. ``pytest tests/traces --rewrite-traces`` writes the events anew; read the difference
before you commit it. ``devicemgr.testing.scenario.grammar`` has the steps, and ``python -m devicemgr trace run FILE``
runs one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio.testing

from devicemgr.testing.scenario import parse_scenario, run_scenario

HERE = Path(__file__).parent


@pytest.fixture
def clock():
    return trio.testing.MockClock()


@pytest.mark.parametrize("path", sorted(HERE.glob("*.trace")), ids=lambda path: path.stem)
async def test_scenario(path, root_dir, clock, request):
    lines = parse_scenario(path.read_text(), file=path.name)
    got = []
    await run_scenario(root_dir, lines, clock, lambda line, caused: got.append((line.text, tuple(caused))))
    if request.config.getoption("--rewrite-traces"):
        path.write_text("".join(f"{text}\n" for line, caused in got for text in (line, *(f"    {c}" for c in caused))))
    assert got == [(line.text, line.written) for line in lines]
