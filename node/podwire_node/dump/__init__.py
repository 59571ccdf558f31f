"""`podwire dump ebpf`: what the socket programs' maps hold, in names.

```
 pinned maps ─► Entry: key, value, bytes ─┐
 agent: names ─► Names ───────────────────┴─► rows (rows.py) ─► tables for people, JSON
```

It reads the maps itself, so it works while no agent runs; then it has addresses and no names.
"""
