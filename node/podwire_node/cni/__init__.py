"""The node's side of CNI: the conflist and the client on the host, and who answers them.

```
 runtime ── /etc/cni/net.d/10-podwire.conflist        conflist, install
   │
   └─ /opt/cni/bin/podwire (C) ──► socket ──► server ──► turns ──► program ──► podwire-cni
                                      wire                                  (a process a call)
```

conflist_keeper  writes and serves, in that order     pod_network  podCIDRs, and who is told of them
"""
