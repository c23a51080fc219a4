"""A real Kubernetes control plane on this machine: its programs, and how they are run.

``processes``          its components as one nursery
``component``          one of them, which can be killed for a while
``flags``              what each is told
``directory``          where all their files are
``programs``           where their programs come from: envtest's directory, the PATH, or built here
``go_program``         a Go module that is compiled into the user's cache
``go_control_plane/``  the Go module: the control plane and kubectl as one program
"""
