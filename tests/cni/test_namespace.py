"""Threads and namespaces, as far as nobody has to be root."""

import os
import threading

import pytest

from podwire_cni.namespace import inside


def test_a_namespace_that_cannot_be_entered_is_an_error_and_no_thread_is_left() -> None:
    before = threading.active_count()
    file = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="setns"):
            inside(file, lambda: pytest.fail("the work was begun"))
    finally:
        os.close(file)
    assert threading.active_count() == before
