"""What kernel_features tells people about versions is true of the running kernel."""

from __future__ import annotations

import kernel_features
import pytest
from kernel_features import FEATURES


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_there_from_its_version_on(name: str) -> None:
    kernel_features.needs(name)


def test_no_feature_is_there_before_its_version_or_after_its_end() -> None:
    """Else what skips tell people is too new."""
    now = kernel_features.release()
    later = [name for name, each in FEATURES.items() if now < each.since]
    gone = [name for name, each in FEATURES.items() if each.until and each.until <= now]
    assert [name for name in later + gone if kernel_features.has(name)] == []
