"""Pods: what is done for them, in this order, and what is remembered.

``admission``         may this pod run here, and with which devices?
``pod_admission``     one pod on its way through allocation, and how to undo it
``hint_provider``     what the Topology Manager asks of every manager of resources
``topology_manager``  hints → one affinity → allocation by it
``allocator``         the Device Manager as a hint provider; one container: plan → reserve → ask → commit
``container_start``   starting the containers of admitted pods
``explanations``      why: one explanation per pod that is here, and the last of those that are gone
``pod_resources``     the PodResources API's questions
"""
