"""The node's side of CNI: the conflist and the client on the host, and who answers them.

```
 runtime ── /etc/cni/net.d/10-podwire.conflist                     files
   │
   └─ /opt/cni/bin/podwire (C) ──► socket ──► calls ─────► podwire_cni
            │                                   ▲              │
            └─ no agent: a DEL on disk ──► queue┘              ├──► released  connections
                                                               ▼
                          the agent's loop ◄──────────── admission   policy, hostPorts
```

pod_network   podCIDRs, who is told of them, and what is served
audit         leases, links and routes are compared, and put right
"""
