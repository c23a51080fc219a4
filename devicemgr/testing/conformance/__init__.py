"""Conformance checks for device plug-ins: plain async functions that need neither pytest nor a cluster.

    async with open_bench(Command(["./my-plugin", "--socket-dir", "{dir}"])) as bench:
        results = await run_checks(bench, select())

A check is a :class:`Check`; its docstring is what ``--explain`` prints. The plug-in is any :class:`Subject`:
:class:`Command` for a program, :class:`Attached` for one that somebody else starts. What it says is read from the
event log of a real manager, and what a kubelet does to it is done by :mod:`devicemgr.daemon.faults.actions`.

``check``             what a check is
``verdicts``          what comes of one
``catalogue``         which there are
``runner``            running them, in order
``attempt``           running one, on a plug-in that may exit meanwhile
``observer``          somebody who hears of them meanwhile
``registration``      checks of how a plug-in makes itself known
``lists``             checks of the lists that it sends
``allocation``        checks of what it answers when devices are asked of it
``restarts``          checks of what it does when the kubelet or itself begins anew
``refused_once``      a check of what it does when the kubelet refuses it once
``stream_lost``       a check of what it does when the kubelet has lost its stream
``rolling_update``    a check of an old process that ends after its new one has begun
``changes``           a check of what it can still say when it had to begin anew
``parallel``          checks of other instances, while the first one is watched
``bench``             a private manager with the plug-in under test, and what a check can do with the two
``history``           what the two have said
``lifecycle``         the processes of the plug-in, and starting them again as a kubelet does
``quiet_period``      a while in which nothing is done to it
``listening``         whether somebody listens on a socket
``diagnosis``         what the plug-in did instead of what was expected
``findings``          what checks find out and others use
``recording_client``  calls of the checks themselves, with their requests and responses
``evidence``          what went over the wire during a check
``answers``           when two answers to Allocate are the same
``abbreviation``      how ids, and lists of them, are shown
``subject``           the plug-in under test, as the checks see it
``command``           one that is a program
``socket_names``      which of its sockets are named by the second
``processes``         its processes, and what it has orphaned
``output``            what it writes
``exit_message``      its panic or exception, found in that
``isolation``         a private view of the machine's files for it
``api_server``        whether it needs an API server
``given_api_server``  giving it one
``kubeconfig``        what a kubeconfig says of one
"""

from ..check_options import CheckOptions
from ..timing import Timing
from .bench import Bench, open_bench
from .catalogue import CHECKS, select
from .check import Check, check
from .command import Command, SubjectUnusable
from .evidence import Seen
from .observer import Observer
from .runner import report_of, run_check, run_checks
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
