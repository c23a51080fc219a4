"""``python -m devicemgr rule``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from devicemgr.cli import main
from devicemgr.cli.shared.output import console
from devicemgr.rules.book import read_book


def run(*arguments):
    return CliRunner().invoke(main, ["rule", *arguments])


@pytest.mark.parametrize("id", ["ALLOC-7d", "alloc-7D", "alloc7d"])
def test_a_rule_is_printed_as_the_book_has_it(id):
    done = run(id)
    item = read_book()["ALLOC-7d"]
    assert done.exit_code == 0
    assert done.output == f"**ALLOC-7d: {item.sentence}**\n\n{item.text}\n\nPage: devicemgr/rules/allocation.md\n"


def test_a_rule_of_several_steps_lists_them():
    steps = [item for id, item in read_book().items() if id.startswith("ALLOC-6") and id != "ALLOC-6"]
    assert len(steps) == 6
    assert "\n".join(f"- {step.id}: {step.sentence}" for step in steps) in run("ALLOC-6").output
    assert json.loads(run("ALLOC-6", "-o", "json").output)["parts"] == [
        {"id": step.id, "sentence": step.sentence} for step in steps
    ]


def test_on_a_terminal_the_markdown_is_laid_out(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console().is_terminal
    assert "**" not in run("ALLOC-7d").output


def test_a_rule_as_data():
    item = read_book()["TM-12"]
    assert json.loads(run("TM-12", "-o", "json").output) == {
        "id": "TM-12",
        "topic": "topology",
        "sentence": item.sentence,
        "text": item.text,
        "parts": [],
    }


def test_the_list_has_every_rule():
    lines = run("--list").output.splitlines()
    assert [line.split()[0] for line in lines] == list(read_book())
    assert json.loads(run("--list", "-o", "json").output)[0] == {
        "id": "API-1",
        "topic": "api",
        "sentence": read_book()["API-1"].sentence,
    }


def test_a_wrong_id_is_bad_usage_and_names_those_near():
    near = run("alloc7z")
    assert near.exit_code == 2
    assert "did you mean ALLOC-7, " in near.output
    far = run("training")
    assert far.exit_code == 2
    assert "there is no rule 'training'; --list has them all" in far.output


@pytest.mark.parametrize("arguments", [[], ["--list", "ALLOC-7d"]])
def test_either_an_id_or_the_list(arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "give either the ID of a rule or --list" in done.output
