"""A command with verbs below it."""

from __future__ import annotations

import click

_LONGEST_SENTENCE = 300
"""Characters; click cuts off what is longer than 45."""


class Group(click.Group):
    """Suggests the nearest verb if there is none of that name, and says of each in one whole sentence what it does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from ...input.yaml_fields import nearest  # not needed for --help

        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            ctx.fail(f"No such command {name!r}{nearest(name, self.list_commands(ctx), cutoff=0.6)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.short_helps(ctx))

    def short_helps(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Of each verb its name and the first sentence of its help."""
        verbs = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, verb.get_short_help_str(limit=_LONGEST_SENTENCE)) for name, verb in verbs if verb is not None]
