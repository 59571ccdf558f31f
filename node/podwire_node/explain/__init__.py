"""Why a connection is allowed or denied, twice: by the policies' text, and by the kernel's tables.

    words of a person ─► Question ─► Flows ─┬─► the oracle         (policies' text)
                                            └─► the kernel's sets  (what is in force here)
                                                       │
                         command ◄── one line ◄── Explanation: both, side by side

The command runs anywhere on the node and knows nothing: the agent answers, by its control socket.
"""
