"""What ``--help`` says."""

from __future__ import annotations

import click
import pytest

from devicemgr.cli import main
from devicemgr.cli.shared.group import Group


def commands(command: click.Command, ctx: click.Context):
    """The command and all below it, each with its context."""
    yield command, ctx
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            yield from commands(below, click.Context(below, ctx, name))


COMMANDS = list(commands(main, click.Context(main)))
GROUPS = [(command, ctx) for command, ctx in COMMANDS if isinstance(command, click.Group)]


@pytest.mark.parametrize(("group", "ctx"), GROUPS, ids=[ctx.command_path for _, ctx in GROUPS])
def test_each_verb_is_explained_by_a_whole_sentence(group, ctx):
    assert isinstance(group, Group)
    formatter = click.HelpFormatter(width=80)
    group.format_commands(ctx, formatter)
    assert "..." not in formatter.getvalue()
    assert all(text.endswith(".") for _, text in group.short_helps(ctx)), group.short_helps(ctx)


def test_each_value_is_named_by_what_it_is():
    """Click's own names, such as INTEGER RANGE, say nothing to somebody who wants to write one."""
    names = {
        f"{ctx.command_path} {option.opts[0]}": option.make_metavar(ctx)
        for command, ctx in COMMANDS
        for option in command.get_params(ctx)
        if isinstance(option, click.Option) and not option.is_flag
    }
    assert len(names) > 60
    assert {name for name, metavar in names.items() if metavar == "TEXT" or "RANGE" in metavar} == set()
