"""Finds and repairs differences between leases, links and routes.

```
 leases.db ─┐                                            ┌─► the plugin's DEL
 rtnetlink ─┼─► view ─► findings ─► sightings ─► audit ──┼─► rtnetlink
 libcni's  ─┘           pure        pure         in turn └─► hostPorts, by the agent's loop
 cache: remembered
```

What a crash, a hand or another program left is freed when it was seen twice, a minute apart, and
is still so while nobody else can work on that container. What a lease stands for and is missing
is put back when it was seen twice, a few seconds apart; as the first look may be a minute away,
a difference lasts a minute or two. See findings for the table.
"""

from podwire_node.cni.audit.auditor import Auditor
from podwire_node.cni.audit.findings import Kind
from podwire_node.cni.audit.ground import Place
from podwire_node.cni.audit.rows import Row, check
from podwire_node.cni.audit.world import RepairError

__all__ = ["Auditor", "Kind", "Place", "RepairError", "Row", "check"]
