"""Who an ADD is for: (network, container, interface), and the names that follow from it.

Everything podwire makes for an attachment is found again from these three words alone.
DEL needs no netns, no address and no record to find the link, so it cannot take another
pod's for it.
"""

import base64
import hashlib
import re
from dataclasses import dataclass

HOST_PREFIX = "pw"
_HOST_NAME = re.compile(f"{HOST_PREFIX}[a-z2-7]{{13}}")


def is_host_name(name: str) -> bool:
    """Whether a link's name is one that podwire gives to a host end."""
    return _HOST_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, order=True)
class Attachment:
    """The specification's attachment: a container's interface in a network.

    network: the configuration's `name`.  container: CNI_CONTAINERID.
    interface: CNI_IFNAME, the link's name inside the pod.
    """

    network: str
    container: str
    interface: str

    @property
    def host_name(self) -> str:
        """The host end's name: `pw` and 13 characters of base32.

        2 + 13 = 15 is IFNAMSIZ - 1, the most a link's name may have. 13 * 5 = 65 bits:
        among 10,000 attachments the chance of any collision is below 1 in 10^11.
        """
        word = base64.b32encode(self._digest()[:9]).decode("ascii").lower()
        return HOST_PREFIX + word[:13]

    @property
    def host_mac(self) -> str:
        """The host end's hardware address; differs from the pod end's in the last bit."""
        return self._mac(last_bit=0)

    @property
    def pod_mac(self) -> str:
        """The pod end's hardware address."""
        return self._mac(last_bit=1)

    def _digest(self) -> bytes:
        # NUL cannot occur in any of the three, so no two attachments share a text.
        text = f"{self.network}\0{self.container}\0{self.interface}"
        return hashlib.sha256(text.encode()).digest()

    def _mac(self, *, last_bit: int) -> str:
        tail = bytearray(self._digest()[16:21])
        tail[-1] = tail[-1] & 0xFE | last_bit
        # 0x02: locally administered, unicast (IEEE 802).
        return ":".join(f"{byte:02x}" for byte in (0x02, *tail))

    def __str__(self) -> str:
        return f"{self.container}/{self.interface}"
