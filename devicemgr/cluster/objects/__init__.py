"""What the objects of a node look like in the API, as a kubelet writes them: JSON in, JSON out.

``metadata``       where an object is, and what all of them have
``times``          times and durations, as Kubernetes writes them
``node``           Node: labels, taint, capacity, conditions
``node_info``      what a Node says of its machine
``lease``          Lease: who is this node, and since when
``pod``            Pod: what it asks for, in the manager's words
``pod_status``     PodStatus, in every state of a pod
``pod_conditions``  its conditions, whose times are kept
``requests``       what a pod requests of a node: cpu, memory and the like
``resize``         what a pod was given, where it asks for something else by now
``node_affinity``  node selectors and required node affinity
``tolerations``    which taints a pod tolerates
``fit``            may it run here? The kubelet's predicates, in its words
``preemption``     which pods end so that a critical one may run
``event``          Event: what is said of a pod
"""
