"""The kubelet itself as a side of the stories, with a container runtime that only pretends.

``programs``  where its programs are, and why they may not be here
``view``      the files as it sees them: its directory at the path that is compiled in, NUMA nodes as the story has them
``log``       what it says, as facts to wait for
``process``   the kubelet and its runtime, as processes
"""
