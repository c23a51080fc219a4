"""``status``: shows the resources, and who holds what.

``verb``     the verb and its options; of a manager of ours
``kubelet``  the same of any kubelet, by its PodResources API
"""

from .verb import command

__all__ = ["command"]
