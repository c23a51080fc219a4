"""What is done for pods, in this order, and what is kept of it.

``admission``         may this pod run here, and with which devices?
``pod_admission``     one pod during its admission, and how to undo it
``hint_provider``     what the Topology Manager asks of every manager of resources
``topology_manager``  hints → one affinity → allocation by it
``allocator``         the Device Manager as a hint provider; one container: plan → reserve → ask → commit
``container_start``   starting the containers of admitted pods
``explanations``      why: one explanation for each admitted pod, and the last ones of others
``pod_resources``     the answers of the PodResources API
"""
