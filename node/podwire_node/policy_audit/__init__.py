"""What policies would do, before anyone applies them: `podwire policy audit FILE`.

    FILE ─► Proposal ──────────────► snapshot as it would be ─► oracle ─┐
    kernel ─► connections that were seen ───────────────────────────────┼─► what changes for them
                                     snapshot as it is ───────► oracle ─┘

Nothing is applied, and nothing is asked of the API server: the agent has the objects already.
"""
