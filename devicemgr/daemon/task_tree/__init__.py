"""The running tasks of a manager, as a value (``core.views.task_tree``). Nothing is recorded while nobody looks.

``lines``         the nurseries of the supervisor, under the names of the context managers that open them
``frames``        the functions in which a task waits, and what they say about it
``running_tree``  Trio's tasks → the value
``watching``      the same again and again, with the times at which tasks began to wait
"""
