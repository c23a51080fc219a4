"""gRPC over unix sockets, on Trio. An HTTP/2 connection is a nursery, and everything else follows from that::

    open_server                      open_channel
    └─ connection                    └─ connection            one for each channel, and never another
       ├─ reader                        ├─ reader
       ├─ writer                        └─ writer
       └─ call …                     a call is a block in the caller's own task

**Who ends what.** Leaving ``open_channel`` or ``open_server`` closes its connections; the end of a connection fails its
calls, and cancels their handlers; leaving a call's block resets its stream. Nothing is closed from anywhere else, and
nothing outlives its block: no callback, no detached task, no reconnecting behind the caller's back.

**What waits.** A call: for its turn when there are too many, for room to send (``Stream.send``), for its answer
(``Stream.receive``). The reader: for bytes, and for a peer that owes time or does not read. The writer: for the kernel.
Whatever ends something happens at once.

**What is bounded**, and where: received bytes by the windows, and a message by its prefix (``stream``); bytes to send
by ``ConnectionLimits.outgoing`` (``connection``); streams, connections and time by the rest of
:class:`~.limits.ConnectionLimits`, and its policy.

``connection``        h2 driven by a reader and a writer
``stream``            one call on the wire
``server``            accepting, and a task for each call
``server_call``       a call as its handler sees it
``accepting``         which failures of accept(2) pass by themselves
``channel``           connecting, and calling
``framing``           GOAWAY, which h2 would take for the end, and frames that are too long
``limits``            what a connection may hold, and the policy that decides about its peer
``metering``          the CPU time of one call's steps
``peer_credentials``  who is at the other end
``unix_socket``       a socket that listens before it can be seen

# Decision: of grpclib, what is data: ``Handler``, ``Cardinality``, ``Status``, ``GRPCError``, metadata and timeouts,
# which are the interface of the code that betterproto2 generates. Not its transport, which needs asyncio. So the same
# services and stubs run here and on grpclib's own server and channel; a test runs them on both.
# Decision: h2, which checks and counts what HTTP/2 asks for, and does no I/O. What it must not see is in ``framing``.
"""
