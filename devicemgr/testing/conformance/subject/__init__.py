"""The plug-in under test.

``interface``         how the checks see it
``command``           one that is a program
``lifecycle``         its processes, and starting them again as a kubelet does
``processes``         which processes it has, and what it has orphaned
``output``            its output
``exit_message``      its panic or exception, found there
``isolation``         a private view of the machine's files for it
``api_server``        whether it needs an API server
``given_api_server``  giving one to it
``service_account``   one of a kubeconfig, as a pod has it
"""
