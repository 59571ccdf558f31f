from __future__ import annotations

from podwire_core.backoff import FIRST_S, MAX_S, Backoff


def test_waits_double_up_to_their_bound_and_are_forgotten() -> None:
    backoff = Backoff()
    delays = [round(backoff.failed(0.0), 3) for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == MAX_S
    backoff.succeeded()
    assert backoff.due(0.0)
    assert backoff.failed(5.0) == 5.0 + FIRST_S


def test_jitter_spreads_clients_that_failed_together() -> None:
    waits = {Backoff(first=1.0, jitter=0.5).failed(0.0) for _ in range(50)}
    assert len(waits) > 40
    assert all(0.5 <= wait <= 1.5 for wait in waits)
