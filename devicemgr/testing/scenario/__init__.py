"""Scenarios: a file of steps, and under each step the events that it causes. Everything is real but the clock, which
moves only when a step says so.

Each line of a ``.trace`` is a step (``> VERB …``), a comment (``# …``), or, indented by four spaces, what a step
caused. ``trace run`` and the tests in ``tests/traces/`` run it and compare.

``grammar``  lines → steps, or an error that names the line
``runner``   runs steps on a manager
"""

from .grammar import VERBS, ScenarioLine, parse_scenario
from .runner import run_scenario

__all__ = ["VERBS", "ScenarioLine", "parse_scenario", "run_scenario"]
