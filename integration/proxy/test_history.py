"""Whatever happens to Services, the kernel holds what a sync from scratch makes."""

from __future__ import annotations

import scratch
from hypothesis import given, settings
from proxy_stage import Stage
from service_histories import HISTORIES, OPTIONS, without_order

from podwire_core.nft.kernel import Kernel
from podwire_core.snapshot import Change
from podwire_proxy.options import Options
from podwire_proxy.services import TABLES


@settings(max_examples=25, deadline=None, print_blob=True)
@given(HISTORIES, OPTIONS)
def test_any_history_ends_where_a_fresh_start_does(
    steps: list[list[Change]], options: Options
) -> None:
    namespace = scratch.make()
    try:
        with namespace.inside():
            kernel = Kernel()
        stage = Stage(kernel, options)
        for changes in steps:
            stage.take(changes)
            assert kernel.read(TABLES) == stage.in_force
        found = stage.again()  # which reads what is there
        assert not found.start(*stage.objects), "a restart sends nothing"
        fresh = Stage(options=options)
        fresh.put(*stage.objects)
        assert without_order(found.in_force) == without_order(fresh.in_force)
    finally:
        scratch.remove(namespace)
