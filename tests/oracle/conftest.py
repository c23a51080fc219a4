"""The sides, each for all stories of a run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from .go_build import built
from .go_side import GoSide
from .our_side import OurSide

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """The time of a test does not include that of its fixtures here: a program may have to be built for it."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(func_only=True))


@pytest.fixture(scope="session")
def go():
    program = built()
    if program is None:
        pytest.skip("Kubernetes' device manager is built with the go tool, and there is none in PATH")
    with closing(GoSide(program)) as side:
        yield side


@pytest.fixture(scope="session")
def ours():
    with closing(OurSide()) as side:
        yield side
