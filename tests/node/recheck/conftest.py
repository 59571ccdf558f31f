"""Lets the tests of this folder import the clusters of tests/policy."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "policy"))
