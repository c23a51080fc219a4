"""``cluster``: a Kubernetes cluster on this machine.

``verb``   the verb and its options
``build``  compiles the programs of its control plane
``up``     starts it, and runs it
"""

from .verb import command

__all__ = ["command"]
