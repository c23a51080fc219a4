"""``node``: joins a cluster.

``verb``   the verb and its options
``run``    runs its nodes
``lines``  what is shown of them
"""

from .verb import command

__all__ = ["command"]
