"""A real Kubernetes control plane on this machine: its programs, and how they are run.

``processes``          etcd and kube-apiserver as one nursery
``programs``           where their programs come from: envtest's directory, the PATH, or built here
``go_program``         a Go module that is compiled into the user's cache
``go_control_plane/``  the Go module: etcd, kube-apiserver and kube-scheduler as one program
"""
