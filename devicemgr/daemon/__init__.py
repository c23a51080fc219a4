"""Tasks: nurseries, the clock, files and the lifetimes of sockets.

Read in this order:

``supervisor``        the nursery tree on one screen
``settings``          what a manager is told when it starts
``incarnation``       what a restart replaces
``manager``           the Device Manager as an embedder holds it
``plugins/``          plug-ins: registered, found, read, lost
``pods/``             pods: admitted, aligned, allocated, started
``checkpoint/``       the state on disk, by one writer
``access/``           who may call, and how much
``serving/``          what is offered to others: sockets, metrics, traces
``faults/``           faults on purpose
``threads/``          the way in for programs that are not Trio's
``event_log``         the memory of what happened, and how others wait for it
``open_calls``        the calls of a program's own tasks: none outlasts the manager
``layout``            the files of one manager under its root directory
``shared_directory``  files of ours where others may make theirs
``file_watch``        when it is worth looking at a file again
``host_numa``         the machine's NUMA nodes, as the kernel tells of them
``cached_view``       a view of the whole state, computed once for all callers until it changes
"""
