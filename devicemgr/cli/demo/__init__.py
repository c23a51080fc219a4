"""``demo``: shows everything once, embedded.

``verb``   the verb and its options, and what happens
``story``  how it is told: straight through, or step by step
"""

from .verb import command

__all__ = ["command"]
