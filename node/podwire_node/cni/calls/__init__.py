"""Answers CNI calls: the socket, who may work when, and the plugin in the server's threads.

```
 client ─► listener ─► server ─► connection ─► turns ─► plugin ─► podwire_cni ─► agent_host
                       threads      wire                             │
                                                       refusal ◄─────┘
```

refusal     what the agent itself says no to
readiness   what STATUS tells of the agent
"""
