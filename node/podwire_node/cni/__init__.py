"""The node's side of CNI: the conflist and the client on the host, and who answers them.

```
 runtime ── /etc/cni/net.d/10-podwire.conflist        conflist, install
   │
   └─ /opt/cni/bin/podwire (C) ──► socket ──► server ──► turns ──► plugin ──► podwire_cni
                                      wire    threads                            │
                                                                             agent_host
                            the agent's loop ◄── admission ◄─────────────────────┤
                              attached_pods      (policy, hostPorts)           forget
```

conflist_keeper  writes and serves, in that order     pod_network  podCIDRs, and who is told of them
host_files       client and conflist, kept there      install_command, installation  podwire install
readiness        what STATUS says of the agent        pod_ports    hostPorts, as a part of the loop
queue, queued_call, queue_keeper   DELs that came without an agent     folder_events  inotify
"""
