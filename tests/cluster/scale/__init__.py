"""How many nodes one process carries, measured: ``python -m tests.cluster.scale``."""
