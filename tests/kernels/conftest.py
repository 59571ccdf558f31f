"""Lets these tests import what stands in integration/kernels, which is scripts and no package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "integration/kernels"))
