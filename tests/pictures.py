"""Draw the pictures of the pages that are sequence diagrams, from golden traces: ``python -m tests.pictures``.

A picture is a block of Mermaid below a comment with the command that draws it. With ``--check`` nothing is written; the
exit status is 1 when a page shows something else than its command draws.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "devicemgr").rglob("*.md"))]
_PICTURE = re.compile(r"^(<!-- python -m devicemgr (sequence .*) -->\n```mermaid\n)(?:.*\n)*?(```)$", re.MULTILINE)


def redrawn(page: str) -> str:
    """The text of a page with all its pictures drawn again."""
    return _PICTURE.sub(lambda found: f"{found[1]}{_drawn(found[2])}{found[3]}", page)


def _drawn(command: str) -> str:
    words = [sys.executable, "-m", "devicemgr", *shlex.split(command)]
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> int:
    changed = {page: text for page in PAGES if (text := redrawn(page.read_text())) != page.read_text()}
    for page, text in changed.items():
        print(page.relative_to(ROOT))
        if "--check" not in sys.argv:
            page.write_text(text)
    return 1 if changed and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
