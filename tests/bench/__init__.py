"""The benchmark: ``python -m tests.bench``. Ours beside Kubernetes' own device manager, measured in the same run."""
