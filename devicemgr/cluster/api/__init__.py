"""The border to an API server.

``client``  the little of a Kubernetes client that is needed here: objects as JSON
"""
