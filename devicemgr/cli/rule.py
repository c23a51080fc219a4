"""``rule``: what an id such as ALLOC-7d stands for."""

from __future__ import annotations

from typing import Any

import click
from rich.markdown import Markdown

from ..rules.book import Item, find, near, parts_of, read_book
from .shared.output import console, show
from .shared.parameters import output_option


@click.command("rule")
@output_option
@click.argument("id", required=False)
@click.option("--list", "list_rules", is_flag=True, help="List the id and the sentence of every rule.")
def command(id: str | None, output: str, list_rules: bool) -> None:
    """Print a rule of the kubelet: what it does, why, what devicemgr does instead, and where it is in Kubernetes.

    Rules are cited by ids such as ALLOC-7d in what explain and check say, in errors, events and the source. They are
    the items of the pages in devicemgr/rules/.
    """
    if (id is None) != list_rules:
        raise click.UsageError("give either the ID of a rule or --list")
    if id is None:
        rules = [{"id": item.id, "topic": item.topic, "sentence": item.sentence} for item in read_book().values()]
        show(rules, output, _draw_list)
    else:
        show(_data(_found(id)), output, _draw)


def _found(id: str) -> Item:
    book = read_book()
    if item := find(id, book):
        return item
    likely = near(id, book)
    meant = f"; did you mean {', '.join(likely)}?" if likely else "; --list has them all"
    raise click.BadParameter(f"there is no rule {id!r}{meant}")


def _data(item: Item) -> dict[str, Any]:
    parts = [{"id": part.id, "sentence": part.sentence} for part in parts_of(item, read_book())]
    return {"id": item.id, "topic": item.topic, "sentence": item.sentence, "text": item.text, "parts": parts}


def _draw_list(rules: list[dict[str, str]]) -> None:
    """One line each, at any width, for grep."""
    width = max(len(rule["id"]) for rule in rules)
    for rule in rules:
        click.echo(f"{rule['id']:{width}}  {rule['sentence']}")


def _draw(rule: dict[str, Any]) -> None:
    """On a terminal the Markdown is rendered; elsewhere it is printed as it is."""
    parts = "\n".join(f"- {part['id']}: {part['sentence']}" for part in rule["parts"])
    page = f"Page: devicemgr/rules/{rule['topic']}.md"
    text = "\n\n".join(filter(None, (f"**{rule['id']}: {rule['sentence']}**", rule["text"], parts, page)))
    out = console()
    if out.is_terminal:
        out.print(Markdown(text), width=min(out.width, 100))
    else:
        click.echo(text)
