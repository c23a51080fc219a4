"""Tasks: nurseries, the clock, files and the lifetimes of sockets.

Read in this order:

``supervisor``        the nursery tree on one screen
``settings``          the settings of a manager: arguments and options
``incarnation``       what a restart replaces
``manager``           the Device Manager as an embedding program uses it
``plugins/``          plug-ins: registered, found, read, lost
``pods/``             pods: admitted, aligned, allocated, started
``checkpoint/``       the state on disk, by one writer
``access/``           who may call, and how much
``serving/``          sockets, metrics, traces
``page/``             the page: what the manager does, drawn in a browser
``faults/``           faults on purpose
``threads/``          the manager for programs that do not use Trio
``task_tree/``        the running tasks, for those who look
``event_log``         the log of events, and how tasks wait for them
``open_calls``        the calls of the program's own tasks: none outlasts the manager
``layout``            the files of one manager under its root directory
``shared_directory``  our files in a directory in which others may create theirs
``file_watch``        notices changes of our files
``host_numa``         the machine's NUMA nodes, from sysfs
``cached_view``       a view of the whole state, computed once for all callers until it changes
"""
