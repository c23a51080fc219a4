"""Where the reference marks a defect of the kubelet, the file expects the defect, and we something better."""


def better(expect, *, kubelet, ours):
    """``ours``, if the file expects what the kubelet does; any other expectation of a file is to be met, or to fail."""
    return ours if expect == kubelet else expect
