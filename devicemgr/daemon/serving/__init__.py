"""Sockets, metrics and traces.

``listeners``     the unix sockets with their services, and the metrics
``socket_guard``  creates our sockets again when they are deleted
``metrics``       the event log, counted
``clients``       connections of anybody on the network, bounded in number
``http``          a small server for ``/metrics`` and ``/healthz``
``trace``         where events go: files and streams
``lines``         lines for a reader who may not read them
"""
