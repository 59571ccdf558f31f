"""hostPorts: who dials a port of this node is served by a pod.

  client ─► node:8080 ─► prerouting or output, nat, -99 ─► pod 10.244.1.5:80
                              │ tables podwire-host-ports: an element for each hostPort

node/README.md has who may dial what, and why. In this folder:

forward.py     which port of the node leads to which of a pod's
skeleton.py    the rules, which never change
host_ports.py  the elements, pod by pod (a Desired)
stale.py       UDP and SCTP conversations that would go on to who had the port before
localhost.py   what the kernel must allow before 127.0.0.1 leads to a pod
"""

from podwire_node.host_ports.forward import Forward
from podwire_node.host_ports.host_ports import HostPorts

__all__ = ["Forward", "HostPorts"]
