"""Tasks: nurseries, the clock, files and the lifetimes of sockets.

``supervisor`` shows the whole nursery tree on one screen; read it first. ``manager`` is what an embedder holds.
``endpoints``, ``admission`` and ``container_start`` do the work, ``event_log`` remembers what happened,
``directory`` owns the files.
"""
