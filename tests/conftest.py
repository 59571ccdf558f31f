"""What all tests without a kernel have in common."""

from __future__ import annotations

from hypothesis import settings

# A machine that others use, too, may take its time over an example.
settings.register_profile("podwire", settings(), deadline=None, print_blob=True)
settings.load_profile("podwire")
