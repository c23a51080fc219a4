"""Conformance checks for device plug-ins: plain async functions that need neither pytest nor a cluster.

    async with open_bench(Command(["./my-plugin", "--socket-dir", "{dir}"])) as bench:
        results = await run_checks(bench, select())

A check is a :class:`Check`; its docstring is what ``--explain`` prints. The plug-in is any :class:`Subject`:
:class:`Command` for a program, :class:`Attached` for one that is started elsewhere. What it says is read from the event
log of a real manager, and what a kubelet does to it is done by :mod:`devicemgr.daemon.faults.actions`.

``check``             what a check is
``verdicts``          its outcome
``catalogue``         all checks
``runner``            running checks, in order
``attempt``           running one, on a plug-in that may exit meanwhile
``observer``          what follows a run
``registration``      checks of how a plug-in registers
``lists``             checks of the lists that it sends
``allocation``        checks of its answers to Allocate and the like
``asking``            calling Allocate
``restarts``          checks that it comes back after a restart of the kubelet, or of itself
``refused_once``      a check that it registers again after a refusal
``stream_lost``       a check that it registers again when its stream is lost
``rolling_update``    a check that the new process outlives the old one
``stable_ids``        a check that an id stays that of the same device
``changes``           a check that changes still arrive after a disruption
``parallel``          checks of other instances, while the first one is watched
``bench``             a private manager with the plug-in under test, and what a check can do with the two
``history``           what the two have said
``lifecycle``         the processes of the plug-in, and starting them again as a kubelet does
``quiet_period``      a period in which nothing is done to it
``listening``         whether a server listens on a socket
``diagnosis``         what the plug-in did instead of what was expected of it
``findings``          what checks find out for other checks
``recording_client``  the client of the checks, which records requests and responses
``evidence``          the events of a check, and how they are shown
``conversation``      what was said while a check was run
``answers``           when two answers to Allocate are the same
``abbreviation``      how ids and lists of ids are shortened
``subject``           the plug-in under test, as the checks see it
``command``           one that is a program
``socket_names``      which socket names contain the time
``processes``         its processes, and what it has orphaned
``output``            its output
``exit_message``      its panic or exception, found there
``isolation``         a private view of the machine's files for it
``api_server``        whether it needs an API server
``given_api_server``  giving one to it
``service_account``   one of a kubeconfig, as a pod has it
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
