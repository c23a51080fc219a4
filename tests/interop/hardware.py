"""Hardware that is not there: small trees of files, which ``check --bind`` shows a plug-in in /sys and /dev."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    to: str


Tree = Mapping[str, "str | Link | None"]
"""By path: the text of a file, a link, or None for a directory. Directories above are made."""
NULL = Path("/dev/null")
"""A device node for whoever only looks whether there is one."""


def bind_options(hardware: Mapping[str, Tree | Path], directory: Path) -> Iterator[str]:
    """``--bind`` for each path at which a plug-in is to see something: a tree, which is made in ``directory``, or what
    is at another path here."""
    for number, (there, what) in enumerate(hardware.items()):
        if isinstance(what, Path):
            here = what
        else:
            here = directory / str(number)
            _make(what, here)
        yield from ("--bind", f"{here}:{there}")


def _make(tree: Tree, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case None:
                path.mkdir(exist_ok=True)
            case Link(to=to):
                path.symlink_to(to)
            case str() as text:
                path.write_text(text)
