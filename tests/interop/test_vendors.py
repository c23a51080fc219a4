"""``check`` of vendors' own plug-ins says what a reader of their source would say, no more and no less."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import skipped_where_it_cannot_be_had
from .vendors import VENDORS


@pytest.fixture
def programs(request):
    directory = request.config.getoption("--vendors")
    if directory is None:
        pytest.skip("vendors' programs are not part of this project: --vendors DIRECTORY says where they are")
    return Path(directory)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.program)
def test_a_vendors_plugin_gets_the_verdict_of_its_source(vendor, programs, tmp_path):
    with skipped_where_it_cannot_be_had():
        said = vendor.check(programs, tmp_path, "--restarts", "5", "--quiet-period", "3")
    assert said.broken.keys() - vendor.by_chance.keys() == vendor.broken.keys(), said.broken
    not_made = said.not_passed.keys() - said.broken.keys()
    assert vendor.not_made <= not_made, said.not_passed
    caused = {name for name in not_made if set(said.results[name]["blocked_by"]) & vendor.by_chance.keys()}
    assert not_made - caused == vendor.not_made, said.not_passed
