"""The checks themselves.

``catalogue``       all of them, in order
``registration``    how a plug-in registers
``lists``           the lists that it sends
``allocation``      its answers to Allocate and the like
``asking``          calling Allocate
``answers``         when two answers to Allocate are the same
``restarts``        it comes back after a restart of the kubelet, or of itself
``refused_once``    it registers again after a refusal
``stream_lost``     it registers again when its stream is lost
``rolling_update``  the new process outlives the old one
``stable_ids``      an id stays that of the same device
``changes``         changes still arrive after a disruption
"""
