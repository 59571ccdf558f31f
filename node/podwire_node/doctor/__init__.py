"""`podwire doctor`: looks at what a node needs, and says what to do about what is missing.

```
 checks.py   a table of checks ─► each a function: Patient ─► Finding (ok, warn, fail, not used)
   kernel.py       version, forwarding, rp_filter, connection tracking
   settings.py     what is misspelt in the agent's settings
   agent.py        the agent's own word
   tables.py       our nftables tables
   sockets.py      what programs need: bpf(2), bpffs, cgroup2, the compiler
   canaries.py     programs in effect, canary calls
   uplinks.py      programs for traffic from outside
```

It changes nothing. The canaries call addresses that lead nowhere (192.0.0.8, 100::8), and programs
refuse those calls, so no packet leaves.
"""
