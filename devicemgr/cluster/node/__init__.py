"""A manager as a node of a cluster: one nursery, for as long as the block of :func:`~.agent.open_node` lasts.

::

    Node.run             takes the Lease, or stands by; all below ends when another agent has taken it
    ├── Lease            renewed
    ├── NodeObject       registered, and published whenever something of it changes
    ├── EventRecorder    what is said of pods to those who ask why
    └── Pods             one worker for each pod: admission, status, end
        ├── PodWorker
        └── PodWorker

``agent``             the nursery, and the public function
``options``           what a node is told
``node_object``       Node: registered, published, watched
``lease``             the Lease: taken, renewed, given back
``pods``              the pods that are bound to the node, each handed to its worker
``pod_worker``        the life of one pod
``container_starts``  which of its containers could not start, and when they are started again
``pod_reports``       what the API server is told of one pod
``admission``         may a pod run here? The manager's answer, and the fit check beside it
``event_recorder``    Events
``pace``              how soon something is written again that somebody undoes
``refusals``          what the API server refuses, reported once and tried again
``host``              what the machine says of itself
"""
