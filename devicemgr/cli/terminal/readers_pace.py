"""A story at the reader's pace: in a terminal, the next step comes with a key."""

from __future__ import annotations

import click

from .keys import is_more_wanted, is_terminal


async def is_enough() -> bool:
    """Wait for a key, and say whether the reader wants no more. Without a terminal nobody is asked, and it goes on."""
    if not is_terminal():
        return False
    click.echo("\n… and then? (Enter; q ends) ", nl=False)
    is_wanted = await is_more_wanted()
    click.echo()
    return not is_wanted
