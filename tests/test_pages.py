"""What the pages beside the code promise: options exist, links lead somewhere, tables list what there is."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from pathlib import Path

import click
import pytest

from devicemgr import PeerLimits
from devicemgr.cli import main

ROOT = Path(__file__).parent.parent
TOUR = ROOT / "devicemgr" / "README.md"
TESTING, CLI, DAEMON = (TOUR.parent / room / "README.md" for room in ("testing", "cli", "daemon"))
FOLDERS = ("devicemgr", "tests", "examples", "proto")
PAGES = [ROOT / "README.md", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """Those of the headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


def commands_in(text: str) -> list[str]:
    """Every ``python -m devicemgr …`` in blocks and in running text."""
    code = [block for kind, block in FENCE.findall(text) if kind in ("sh", "console")]
    code += re.findall(r"`(python -m devicemgr[^`]*)`", FENCE.sub("", text))
    lines = (line.removeprefix("$ ") for block in code for line in block.splitlines())
    return [found[1] for line in lines if (found := re.search(r"python -m (devicemgr\b.*)", line))]


def options_of(command: click.Command) -> set[str]:
    parameters = command.get_params(click.Context(command))
    return {"--help"} | {name for parameter in parameters for name in parameter.opts if name.startswith("-")}


def unknown_options(line: str) -> list[str]:
    """The options of a command line that its verb does not have."""
    words = shlex.split(line)[1:]
    command: click.Command = main
    unknown = []
    for word in words[: words.index("--")] if "--" in words else words:
        if isinstance(command, click.Group) and (verb := command.get_command(click.Context(command), word)):
            command = verb
        elif word.startswith("-") and word != "-" and word.partition("=")[0] not in options_of(command):
            unknown.append(word)
    return unknown


def first_cells(page: Path, header: str) -> list[str]:
    """The first cell of each row of the table whose first column has this name."""
    lines = page.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = lines[begin + 2 : lines.index("", begin)]
    return [re.split(r"(?<!\\)\|", row)[1] for row in rows]


def named(cells: list[str], pattern: str) -> set[str]:
    return {name for cell in cells for code in re.findall(r"`([^`]*)`", cell) for name in re.findall(pattern, code)}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_somewhere(page):
    assert broken_links(page, page.read_text()) == []


def test_a_link_to_nowhere_is_noticed():
    text = "# One two\n[a](#one-two) [b](#three) [c](no/such.md) [d](README.md) [e](https://example.com/x)\n"
    page = ROOT / "tests" / "README.md"
    assert broken_links(page, text) == ["#one-two", "#three", "no/such.md"]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_option_in_a_command_exists(page):
    assert {line: unknown for line in commands_in(page.read_text()) if (unknown := unknown_options(line))} == {}


def every_option(command: click.Command) -> set[str]:
    """Of the command and of all below it."""
    found = options_of(command)
    if isinstance(command, click.Group):
        context = click.Context(command)
        found = found.union(
            *(every_option(command.get_command(context, name)) for name in command.list_commands(context))
        )
    return found


OF_TESTS = {"--before", "--vendors"}
"""Options of ``python -m tests.interop.met``."""


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_option_and_file_in_running_text_exists(page):
    spans = code_spans(page.read_text())
    ours = [span for span in spans if not re.match(r"(pip|mutmut|python -m (pytest|tests)|go|cargo|kubectl) ?", span)]
    options = {option for span in ours for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
    assert {one for one in options if not one.startswith("--device-plugin")} <= every_option(main) | OF_TESTS
    files = {
        span
        for span in spans
        if re.fullmatch(r"(devicemgr|tests|examples|proto)/[\w./-]+\.(py|md|ya?ml|proto|service|svg)", span)
    }
    assert {file for file in files if not (ROOT / file).exists()} == set()


def test_an_option_that_does_not_exist_is_noticed():
    (line,) = commands_in("Say `python -m devicemgr checkpoint show --frobnicate FILE`.")
    assert unknown_options(line) == ["--frobnicate"]


def test_every_module_and_file_in_a_command_exists():
    for page in PAGES:
        for module in re.findall(r"python -m (tests[\w.]*)", page.read_text()):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), (page, module)
        for path in re.findall(r"python -m pytest (tests/[\w/.]+)", page.read_text()):
            assert (ROOT / path).exists(), (page, path)


def test_every_file_in_the_tours_tables_exists():
    rows = [line for line in TOUR.read_text().splitlines() if line.startswith("|")]
    files = re.findall(r"`([a-z_/]+(?:\.py|/))`", "".join(rows))
    assert len(files) > 40
    homes = [ROOT, *(TOUR.parent / floor for floor in ("", "core", "daemon", "rpc"))]
    assert [name for name in files if not any((home / name).exists() for home in homes)] == []


def test_every_method_in_the_tour_is_in_a_file_of_its_step():
    steps = re.findall(r"^\d\. (.*?)(?=^\d\. |^#|\Z)", TOUR.read_text(), re.MULTILINE | re.DOTALL)
    methods = [(step, name) for step in steps for name in re.findall(r"`([A-Z]\w+\.\w+)`", step)]
    assert len(methods) > 5
    for step, name in methods:
        owner, method = name.split(".")
        sources = "".join((TOUR.parent / path).read_text() for path in LINK.findall(step))
        assert f"class {owner}" in sources, name
        assert f"def {method}(" in sources, name


def test_the_command_line_page_lists_every_option_of_the_daemon():
    shown = named(first_cells(CLI, "Option"), r"(?<!\w)--?[a-z][\w-]*")
    assert shown == options_of(main) - {"--help", "-h", "--version"} - {"--verbose"}


def test_the_command_line_page_lists_every_verb():
    assert named(first_cells(CLI, "Verb"), r"^[a-z-]+") == set(main.list_commands(click.Context(main)))


def test_the_testing_page_lists_every_option_of_check():
    check = main.get_command(click.Context(main), "check")
    assert named(first_cells(TESTING, "Option"), r"(?<!\w)--?[a-z][\w-]*") == options_of(check) - {"--help", "-h"}


def test_the_testing_page_lists_every_fault():
    fault = main.get_command(click.Context(main), "fault")
    assert isinstance(fault, click.Group)
    assert named(first_cells(TESTING, "Fault"), r"^[a-z-]+") == set(fault.list_commands(click.Context(fault)))


@pytest.mark.parametrize(("name", "usual"), asdict(PeerLimits()).items())
def test_the_daemons_page_has_every_limit_with_its_default(name, usual):
    limit = f"`{name.replace('_', '-')}`"
    (row,) = [line for line in DAEMON.read_text().splitlines() if line.startswith("| `") and limit in line]
    names, values = (cell.strip().split(", ") for cell in row.split("|")[1:3])
    assert values[names.index(limit)] == str(usual).removesuffix(".0")


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250
