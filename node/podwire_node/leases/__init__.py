"""`podwire leases`: who has which address and which port of this node.

```
 leases.db ─► Listing (listing.py) ─┬─► tables for people   (tables.py)
                                    └─► JSON for programs   (document.py)
 leases.db, links, routes ─► differences, with --check      (differences.py)
```

It reads what every CNI call writes, and asks no agent: it works while none runs.
"""
