"""What is offered to others.

``listeners``     the unix sockets with their services, and the metrics
``socket_guard``  our sockets are made anew when somebody deletes them
``metrics``       the event log, counted
``http``          a small server for ``/metrics`` and ``/healthz``
``trace``         where events go: files and streams
"""
