"""``check``, run as a user runs it, and what it said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MADE = ("passed", "skipped")
"""The verdicts that are no reproach."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """``results`` by check, as ``-o json`` has them; ``seconds`` of the whole run."""

    status: int
    results: Mapping[str, Mapping[str, Any]]
    seconds: float

    def count(self, verdict: str) -> int:
        return Counter(result["verdict"] for result in self.results.values())[verdict]

    @property
    def not_passed(self) -> dict[str, str]:
        """The evidence, by check."""
        return {name: r["evidence"] for name, r in self.results.items() if r["verdict"] != "passed"}

    @property
    def broken(self) -> dict[str, str]:
        """The evidence of failures and warnings, by check."""
        return {name: r["evidence"] for name, r in self.results.items() if r["verdict"] not in MADE}


def check(
    options: Sequence[str | Path],
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    tree: Path = ROOT,
    timeout: float = 600.0,
) -> Said:
    """Of the plug-in that ``command`` starts; by the code of ``tree``."""
    env = {name: value for name, value in (os.environ | dict(env or {})).items() if name != "GITHUB_ACTIONS"}
    check = [sys.executable, "-m", "devicemgr", "check", "-o", "json", *map(str, options), "--", *map(str, command)]
    started = time.monotonic()
    done = subprocess.run(
        check, cwd=tree, env=env | {"PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=timeout
    )
    seconds = time.monotonic() - started
    assert done.stdout, done.stderr
    results = {result["check"]: result for result in json.loads(done.stdout)["results"]}
    return Said(status=done.returncode, results=results, seconds=seconds)
