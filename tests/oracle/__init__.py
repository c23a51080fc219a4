"""Kubernetes' own code as a judge: stories are played on two sides, and everything observable is compared.

``README.md`` says how to run it and how to read a difference.

``story``          what a story is: the node, and the steps
``stories``        those written by hand, by topic
``generate``       those made at random
``side``           what a side is: a manager that a story can be played on, and what can be seen of it
``go_side``        Kubernetes' own managers, in a process of their own
``go_manager/``    that process
``go_build``       how it is built
``our_side``       our manager, in this program
``plugin``         a plug-in of a story: the same for all sides
``pod_resources``  what the PodResources API answers
``checkpoint``     what the checkpoint file says
``play``           plays a story on two sides
``compare``        in what they differ
``known``          which differences are items of the book
``history``        what has happened on the node, for ``known``
``tally``          what becomes of stories at random
``__main__``       ``python -m tests.oracle``
"""
