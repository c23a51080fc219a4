"""The kubelet itself as a side of the stories, with a container runtime that only pretends.

``programs``   where its programs are, and why they may not be here
``build``      builds them
``view``       the files as it sees them: its directory where it has it compiled in, NUMA nodes as in the story
``log``        what it says, as facts to wait for
``process``    the kubelet and its runtime, as processes
``pods``       a story's pods as Kubernetes has them
``node_pods``  the pods on a node: they come, are looked at, and go
``side``       the side
``known``      in what the kubelet as a whole differs from us
``__main__``   plays stories at random
"""
