"""Tasks: nurseries, the clock, files and the lifetimes of sockets.

``supervisor`` shows the whole nursery tree on one screen; read it first. ``manager`` is what an embedder holds.
``endpoints`` and ``plugin_watcher`` bring plug-ins in; ``admission``, with ``alignment`` and ``allocation``, lets
pods in; ``container_start`` starts what was let in. ``checkpointing`` writes down, in files that ``generations``
keeps whole and ``on_disk`` watches. ``open_calls`` ends with the manager what a program asks of it; through ``portal``
and ``blocking`` programs ask that are not Trio's. ``event_log`` remembers what happened, ``decisions`` why; ``metrics``
counts; ``directory`` owns the files.
"""
