"""Pods' networks on this node, as the leases of its CNI plugin tell of them.

No API server has this kind and no feed brings it: the agent itself puts it into its Snapshot when
an address is given to a pod, which is before anyone else knows of it.
"""

from __future__ import annotations

from podwire_core.objects.base import ClusterObject, ObjectMeta, ObjectName
from podwire_core.objects.cluster import Pod


class Attached(ClusterObject, frozen=True):
    """One attachment: an interface of a pod that is here, and its addresses.

    metadata.name: unique on the node.  pod: None for a container that is no Kubernetes pod.
    uid: of that pod, "" where the runtime did not say it.  addresses: canonical.
    """

    pod: ObjectName | None = None
    uid: str = ""
    addresses: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, attachment: str, pod: ObjectName | None, addresses: tuple[str, ...], uid: str = ""
    ) -> Attached:
        """By its attachment's words."""
        return cls(ObjectMeta(attachment), pod, uid, addresses)

    def fits(self, pod: Pod) -> bool:
        """Whether it is this pod's.

        A uid that one of the two does not say fits any: not every runtime tells it, and a folder's
        Pods may have none.
        """
        one, other = self.uid, pod.metadata.uid
        return self.pod == pod.name and (not one or not other or one == other)
