"""Where the reference marks a defect of the kubelet: the file expects the defect, devicemgr does better."""


def better(expect, *, kubelet, ours):
    """``ours`` if the file expects what the kubelet does. Any other expectation of a file must be met."""
    return ours if expect == kubelet else expect
