"""The page's scripts: one idea each, in an order, and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devicemgr.daemon.page import app
from tests.test_structure import cycles

FOLDER = Path(app.__file__).parent / "browser"
MODULES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js")}
IMPORT = re.compile(r"""^import (?:[^;]*? from )?(["'])(.*?)\1;$""", re.MULTILINE)


def imports_of(text):
    return [name for _, name in IMPORT.findall(text)]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_modules_of_ours_only(name):
    assert {one.removeprefix("./") for one in imports_of(MODULES[name])} <= MODULES.keys()
    assert len(imports_of(MODULES[name])) == len(re.findall(r"\bimport\b", MODULES[name]))


def test_no_modules_import_each_other():
    graph = {name: {one.removeprefix("./") for one in imports_of(text)} for name, text in MODULES.items()}
    assert list(cycles(graph)) == []
    reached, left = set(), ["page.js"]
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left += graph[name]
    assert reached == MODULES.keys(), "the page needs every one"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_begins_with_what_it_is_about(name):
    assert re.match(r"// [A-Z]", MODULES[name])


def test_the_first_module_names_each_with_one_line():
    named = re.findall(r"^// ([a-z]+\.js)  +\S.*$", MODULES["page.js"], re.MULTILINE)
    assert sorted(named) == sorted(MODULES)
