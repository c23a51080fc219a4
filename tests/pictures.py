"""Draw the pictures of the pages again: ``python -m tests.pictures``.

A picture is a block below a comment with the command that draws it: a view of a golden trace, or ``python -m
tests.pictures --states``, which prints the table of an endpoint's states as a diagram. With ``--check`` nothing is
written; the exit status is 1 when a page shows something else than its command draws.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from devicemgr.core.devices.endpoint import TRANSITIONS, State

ROOT = Path(__file__).parent.parent
FOLDERS = ("devicemgr", "tests", "examples", "proto")
PAGES = [ROOT / "README.md", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
_PICTURE = re.compile(r"^(<!-- python (-m .*) -->\n```(?:mermaid)?\n)(?:.*\n)*?(```)$", re.MULTILINE)


def redrawn(page: str) -> str:
    """The text of a page with all its pictures drawn again."""
    return _PICTURE.sub(lambda found: f"{found[1]}{_drawn(found[2])}{found[3]}", page)


def _drawn(command: str) -> str:
    words = [sys.executable, *shlex.split(command)]
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def states() -> str:
    """The life of an endpoint, from the first state to the last."""
    rows = [f"{state.name} --> {after.name}: {trigger.value}" for (state, trigger), after in TRANSITIONS.items()]
    first, *_, last = State
    lines = [f"[*] --> {first.name}: a plug-in registers", *rows, f"{last.name} --> [*]"]
    return "stateDiagram-v2\n" + "".join(f"    {line}\n" for line in lines)


def main() -> int:
    if "--states" in sys.argv:
        print(states(), end="")
        return 0
    changed = {page: text for page in PAGES if (text := redrawn(page.read_text())) != page.read_text()}
    for page, text in changed.items():
        print(page.relative_to(ROOT))
        if "--check" not in sys.argv:
            page.write_text(text)
    return 1 if changed and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
