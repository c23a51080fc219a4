"""What the README says of options and peer limits is what there is."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from devicemgr import PeerLimits

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize(("name", "usual"), asdict(PeerLimits()).items())
def test_every_peer_limit_is_in_the_readme_with_its_default(name, usual):
    (row,) = [line for line in README.splitlines() if line.startswith("| `") and f"`{name.replace('_', '-')}`" in line]
    names, values = (cell.strip().split(", ") for cell in row.split("|")[1:3])
    assert values[names.index(f"`{name.replace('_', '-')}`")] == str(usual).removesuffix(".0")


def test_every_command_of_the_table_of_what_it_can_bear_is_there():
    for module in re.findall(r"python -m (tests[\w.]*)", README):
        path = Path(__file__).parent.parent / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for path in re.findall(r"python -m pytest (tests/[\w/.]+)", README):
        assert (Path(__file__).parent.parent / path).exists(), path
