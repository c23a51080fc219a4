"""The benchmark: ``python -m tests.bench``. Figures in units of one gRPC round trip, measured in the same run."""
