"""ClusterIPs and the NodePorts beside them: ports, protocols, refusals, hairpins."""

from __future__ import annotations

from flows.objects import Port, Slice, Svc
from flows.rows import table
from flows.world import World

SERVICES = (
    Svc("web", "a b", Port(node=30080)),
    Svc("one", "a"),
    Svc(
        "dns",
        (Slice("a", "dns-tcp"), Slice("b", "dns")),
        Port(53, 5353, "dns-tcp"),
        Port(53, 5354, "dns", "UDP"),
    ),
    Svc("empty", "", Port(node=30090)),
    Svc("unready", "b!unready"),
    Svc("ending", "c!ending"),
    Svc("far", "a d", Port(node=30084)),
    Svc(
        "trio",
        (Slice("a", "t"), Slice("b", "u"), Slice("c", "s")),
        Port(80, 8080, "t", "TCP", 30085),
        Port(80, 8080, "u", "UDP", 30085),
        Port(80, 8080, "s", "SCTP", 30085),
    ),
    Svc("ports", "a b", Port(80, 8080), Port(81, 5353, "admin")),
    Svc("host", "node node2"),
    Svc(
        "void",
        "",
        Port(80, 8080, "t", "TCP", 30091),
        Port(80, 8080, "u", "UDP", 30091),
        Port(80, 8080, "s", "SCTP", 30091),
        balancer=True,
        external=True,
    ),
)

CLUSTER_IP = table("""
    c        web:80      a b        a pod reaches a Service and keeps its address
    c        one:80      a          a Service with one endpoint
    c        far:80      a d        a Service whose endpoints are on two nodes
    d        web:80      a b        a pod of another node is a pod
    node     web:80      a* b*      the node reaches a Service
    node     far:80      a* d*      the node reaches a Service on two nodes
    outside  web:80      a* b*      the world reaches a Service, masqueraded
    outside  far:80      a* d*      the world reaches a Service on two nodes, masqueraded
    stray    web:80      a* b*      a pod outside of the pods' networks is the world
    c        ending:80   c*         an ending endpoint serves when no other does
    c        host:80     node node2     endpoints on the nodes' own network
    outside  host:80     node node2*    the node itself sees who came, as nothing leaves it

    c        a:8080      a          what is for no Service goes its way
    node     a:8080      a          the node's own way to pods is left alone
    outside  d:8080      d          the world's way to another node is left alone
    c        outside:80  AWAY       a pod's way to the world is left alone
""")

HAIRPIN = table("""
    a        one:80      a*         a pod reaches itself through its Service
    a        web:80      a* b       only the way back to oneself is masqueraded
    d        far:80      a d        a pod of another node reaches itself on that node alone
    b        trio:80/udp   b*       a pod reaches itself over UDP
    c        trio:80/sctp  c*       a pod reaches itself over SCTP
""")

PROTOCOLS = table("""
    c        dns:53        a:5353   one port number, TCP
    c        dns:53/udp    b:5354   one port number, UDP, goes elsewhere
    c        trio:80       a        three protocols on one number: TCP
    c        trio:80/udp   b        three protocols on one number: UDP
    a        trio:80/sctp  c        three protocols on one number: SCTP
    node     trio:80/udp   b*       the node over UDP
    node     trio:80/sctp  c*       the node over SCTP
    outside  trio:80/udp   b*       the world over UDP
    outside  trio:80/sctp  c*       the world over SCTP
    c        ports:80      a b              ports join by their names: one
    c        ports:81      a:5353 b:5353    ports join by their names: the other
""")

NODE_PORT = table("""
    outside  node:30080       a* b*   the world reaches a NodePort, masqueraded
    c        node:30080       a* b*   a pod reaches a NodePort, masqueraded
    stray    node:30080       a* b*   a pod outside of the pods' networks reaches a NodePort
    node     node:30080       a* b*   the node reaches its own NodePort
    d        node:30084       a* d*   another node's pod reaches a NodePort
    outside  node:30084       a* d*   a NodePort whose endpoints are on two nodes
    outside  node:30085       a*      one NodePort, TCP
    outside  node:30085/udp   b*      one NodePort, UDP
    outside  node:30085/sctp  c*      one NodePort, SCTP
    outside  node:30080/udp   CLOSED  a NodePort is not open for UDP
    outside  node:30099       CLOSED  a NodePort that no Service has
    outside  alt:30080        CLOSED  NodePorts answer at the node's first address alone
    node     localhost:30080  CLOSED  and not at the loopback's
    c        web:30080        REJECT  nor at a ClusterIP
""")

REFUSED = table("""
    c        empty:80       REJECT  a Service with no endpoint is refused
    node     empty:80       REJECT  a Service with no endpoint is refused to the node
    outside  empty:80       REJECT  a Service with no endpoint is refused to the world
    outside  node:30090     REJECT  a NodePort with no endpoint is refused
    c        node:30090     REJECT  a NodePort with no endpoint is refused to a pod
    node     node:30090     REJECT  a NodePort with no endpoint is refused to the node
    c        void:80        REJECT  no endpoint, TCP
    c        void:80/udp    REJECT  no endpoint, UDP
    c        void:80/sctp   REJECT  no endpoint, SCTP
    node     void:80/udp    REJECT  no endpoint, UDP, asked by the node
    c        void.lb:80     REJECT  no endpoint, at a balancer's address
    outside  void.lb:80     REJECT  no endpoint, at a balancer's address, asked by the world
    node     void.lb:80     REJECT  no endpoint, at a balancer's address, asked by the node
    outside  void.ext:80    REJECT  no endpoint, at an external address
    node     void.ext:80    REJECT  no endpoint, at an external address, asked by the node
    outside  void.ext:80/udp   REJECT  no endpoint, at an external address, UDP
    outside  node:30091/udp    REJECT  no endpoint, at a NodePort, UDP
    outside  node:30091/sctp   REJECT  no endpoint, at a NodePort, SCTP
    c        unready:80     REJECT  an endpoint that is not ready is none

    c        web:81         REJECT  a port that the Service lacks is refused
    node     web:81         REJECT  a port that the Service lacks is refused to the node
    outside  web:81         REJECT  a port that the Service lacks is refused to the world
    c        web:80/udp     REJECT  a protocol that the Service lacks is refused
    c        web:80/sctp    REJECT  SCTP is refused where the Service lacks it
    c        one:53         REJECT  a Service does not answer at another's port

    c        nobody:80      DROP    an address that no Service has is silent
    node     nobody:80      DROP    an address that no Service has is silent to the node
    outside  nobody:80      DROP    an address that no Service has is silent to the world
    c        nobody:53/udp  DROP    an address that no Service has is silent over UDP
    c        nobody:80/sctp  DROP   an address that no Service has is silent over SCTP
""")

WORLD = World("basics", SERVICES, CLUSTER_IP + HAIRPIN + PROTOCOLS + NODE_PORT + REFUSED)
WORLDS = (WORLD,)
