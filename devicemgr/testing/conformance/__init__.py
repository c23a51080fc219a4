"""Conformance checks for device plug-ins: plain async functions that need neither pytest nor a cluster.

    async with open_bench(Command(["./my-plugin", "--socket-dir", "{dir}"])) as bench:
        results = await run_checks(bench, select())

A check is a :class:`Check`; its docstring is what ``--explain`` prints. The plug-in is any :class:`Subject`:
:class:`Command` for a program, :class:`Attached` for one that somebody else starts. What it says is read from the
event log of a real manager, and what a kubelet does to it is done by :mod:`devicemgr.daemon.faults.actions`.
"""

from ..check_options import CheckOptions
from ..timing import Timing
from .bench import Bench, open_bench
from .check import Check, check
from .command import Command, SubjectUnusable
from .evidence import Seen
from .observer import Observer
from .runner import CHECKS, report_of, run_check, run_checks, select
from .subject import Attached, Subject
from .verdicts import Failed, Result, Skipped, Verdict, Weight

__all__ = [
    "CHECKS",
    "Attached",
    "Bench",
    "Check",
    "CheckOptions",
    "Command",
    "Failed",
    "Observer",
    "Result",
    "Seen",
    "Skipped",
    "Subject",
    "SubjectUnusable",
    "Timing",
    "Verdict",
    "Weight",
    "check",
    "open_bench",
    "report_of",
    "run_check",
    "run_checks",
    "select",
]
