"""Kubernetes' own code as a judge: stories are played on several sides, and everything observable is compared.

``story``        what a story is: the node, and the steps
``side``         what a side is: a manager that a story can be played on, and what can be seen of it
"""
