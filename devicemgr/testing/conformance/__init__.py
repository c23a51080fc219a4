"""Conformance checks for device plug-ins: plain async functions that need neither pytest nor a cluster.

    async with open_bench(Command(["./my-plugin", "--socket-dir", "{dir}"])) as bench:
        results = await run_checks(bench, select())

A check is a :class:`Check`; its docstring is what ``--explain`` prints. The plug-in is any :class:`Subject`:
:class:`Command` for a program, :class:`Attached` for one that is started elsewhere. What it says is read from the event
log of a real manager, and what a kubelet does to it is done by :mod:`devicemgr.daemon.faults.actions`.

``check``         what a check is
``verdicts``      its outcome
``checks/``       the checks themselves
``bench``         a private manager with the plug-in under test, and what a check can do with the two
``findings``      what checks find out for other checks
``subject/``      the plug-in under test, and its processes
``observation/``  what the two have said and done
``running/``      running checks, in order
``abbreviation``  how ids and lists of ids are shortened

Imports go one way: ``verdicts, abbreviation ← subject ← observation ← bench ← check ← checks ← running``.
"""

from ..check_options import CheckOptions
from ..timing import Timing
from .bench import Bench, open_bench
from .check import Check, check
from .checks.catalogue import CHECKS, select
from .observation.evidence import Seen
from .running.observer import Observer
from .running.runner import report_of, run_check, run_checks
from .subject.command import Command, SubjectUnusable
from .subject.interface import Attached, Subject
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
