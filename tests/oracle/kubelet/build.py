"""``python -m tests.oracle.kubelet.build``: compile the kubelet and a control plane for it. No test does that."""

from .programs import build

if __name__ == "__main__":
    build()
