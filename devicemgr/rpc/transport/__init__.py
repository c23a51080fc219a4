"""gRPC over unix sockets, on Trio. An HTTP/2 connection is a nursery, and everything else follows from that.

::

    open_server                              open_channel
    └─ connections                           └─ connection        one for each channel, and never another
       ├─ connection …                          ├─ reader
       │  ├─ reader    bytes → h2 → streams     └─ writer
       │  └─ writer    bytes that wait       └─ the caller's block
       └─ handlers                              └─ call …         an ``async with`` block, not a task
          ├─ call …    a task for each
          └─ listener  accepts

**Who ends what.** Leaving ``open_server`` or ``open_channel`` closes their connections. The end of a connection fails
its calls and cancels their handlers. Leaving a call's block resets its stream. Nothing is closed from anywhere else,
and nothing outlives its block: there is no callback, no detached task, and no reconnecting in the background.

**What waits.** Only five things do:

- a new call, while too many are open (``Call``), and its handler, while the policy says so (``PeerPolicy.begin_call``);
- a message that is sent, for the peer's window and for room in our buffer (``Stream.send``);
- a message that is received, for its last byte (``Stream.receive``);
- the reader, for bytes, for a peer that owes time, and for one that does not read what we answer;
- the writer, for the kernel.

**What never waits** is whatever ends something: trailers, resets, GOAWAY, closing. So a task that is being cancelled
can still say goodbye, and needs no shield to do so.

**What is limited**, by which field of :class:`~.limits.ConnectionLimits`, and where to read how:

======================================  =====================  ====================================================
received bytes of one call              ``stream_window``      ``connection``: acknowledged when they are taken
received bytes of one connection        ``connection_window``  ``connection``: the same, for all of its calls
a request, a message of a stream        ``message``            ``stream``: refused when its prefix has come
the answer to a unary call              ``answer``             ``stream``: the same
fields of that answer                   ``answer_fields``      ``channel``: counted before they are decoded
bytes that wait to be sent              ``outgoing``           ``connection``: four times as much with what we must
                                                               answer (PING, SETTINGS), then nothing is read
calls at a time                         ``streams``            ``connection``: a server refuses, a client waits
connections, CPU time, unread answers   ``policy``             ``limits``: who decides is ``daemon/access``
======================================  =====================  ====================================================

Frames (``framing``), headers and the CPU time of one read (``connection``), and error texts (``server_call``) have
constants.

``connection``        h2 driven by a reader and a writer
``stream``            one call on the wire
``server``            accepting, and a task for each call
``server_call``       a call as its handler sees it
``accepting``         which failures of accept(2) are temporary
``channel``           connecting, and calling
``framing``           GOAWAY, which h2 would take for the end, and frames that are too long
``limits``            what a connection may hold, and the policy that decides about its peer
``metering``          the CPU time of one call's steps
``peer_credentials``  the process at the other end
``unix_socket``       a socket that listens before it can be seen
"""

# Decision: h2 checks and counts what HTTP/2 asks for, and does no I/O. What it must not see is in ``framing``.
#
# Decision: of grpclib we use what is data: ``Handler``, ``Cardinality``, ``Status``, ``GRPCError``, metadata and
# timeouts. The services and stubs that betterproto2 generates are written against these, and against the methods of
# grpclib's streams, which ``ServerCall`` and ``Call`` have as well. Its connections, streams and servers we do not use:
# they need asyncio, keep tasks of their own, and have no place to ask who the peer is. So the same generated code runs
# here and on grpclib; a test runs it on both. Neither library calls these interfaces stable, so both are capped to the
# minor version in which they were read; ``tests/rpc/transport/test_interfaces.py`` says what to do when they change.
