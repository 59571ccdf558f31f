"""Wires one pod: CNI specification, address leases, plan, netlink.

```
 environment ─► spec ──┐
 stdin ───────► config ┼─► plugin ─► leases ─► plan ─► netlink ─► result ─► stdout
                       │   (verbs)   EFFECT    pure    EFFECT     pure
                    errors                     attachment, family, ranges: values
```

Only `leases`, `namespace` and `netlink`, with the files below them, touch the world. The
package imports nothing else of podwire's; pyroute2 gives `messages` and `answers` their shapes.
"""
