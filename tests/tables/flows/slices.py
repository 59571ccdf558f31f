"""Which endpoints of which slices count: conditions, duplicates, odd documents."""

from __future__ import annotations

from flows.objects import Port, Slice, Svc
from flows.places import ADDRESSES, V4, V6
from flows.rows import table
from flows.world import World

_A, _B = ADDRESSES["a"], ADDRESSES["b"]
_ONLY_V4 = (V4,)

CONDITIONS = (
    Svc("bare", "a!bare d!bare"),
    Svc("published", "a!published", publishNotReadyAddresses=True),
    Svc("unpublished", "a!unready", publishNotReadyAddresses=True),
    Svc("some", "a b!unready d!unready"),
    Svc("leaving", "a!leaving b!unready"),
    Svc("endings", "a!ending d!ending"),
    Svc("onegoes", "a!ending b d"),
    Svc("ended", "a!ended d!ended"),
    Svc("oneended", "a!ended d!ending", Port(node=30086)),
    Svc("hushed", "a!hushed d"),
)
CONDITION_FLOWS = table("""
    c        bare:80         a d     what no condition says is ready
    c        published:80    a       ready is ready, whatever else is said
    c        unpublished:80  REJECT  publishNotReadyAddresses alone makes no endpoint ready
    c        some:80         a       endpoints that are not ready are left out
    c        leaving:80      a       an ending endpoint serves unless it says that it does not
    c        endings:80      a d     ending endpoints of all nodes serve when no other does
    c        onegoes:80      b d     an ending endpoint is left out as long as another is ready
    c        ended:80        REJECT  an ending endpoint that serves no more is none
    node     ended:80        REJECT  the same for the node
    c        oneended:80     d       of ending endpoints, those that serve
    outside  node:30086      d*      the same at a NodePort
    c        hushed:80       a d     ready counts, not serving
""")

DUPLICATES = (
    Svc("twice", (Slice("a b"), Slice("b d"))),
    Svc("moved", (Slice("a!unready"), Slice("a d"))),
    Svc("split", (Slice("a"), Slice("b"), Slice("d"))),
    Svc("near", (Slice("a!homeless d"), Slice("a")), balancer=True, externalTrafficPolicy="Local"),
    Svc(
        "nearer", (Slice("a"), Slice("a!homeless d")), balancer=True, externalTrafficPolicy="Local"
    ),
    Svc("adrift", "a!homeless d", balancer=True, externalTrafficPolicy="Local"),
)
DUPLICATE_FLOWS = table("""
    c        twice:80      a b d   an endpoint in two slices is one
    c        moved:80      a d     of two copies, the ready one counts
    c        split:80      a b d   slices add up
    outside  near.lb:80    a       one copy on this node is enough
    outside  nearer.lb:80  a       whichever slice has it
    outside  adrift.lb:80  DROP    an endpoint without a nodeName is on no node
""")

DOCUMENTS = (
    Svc(
        "fqdn",
        (
            Slice(raw={"addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}]}),
            Slice("a"),
        ),
    ),
    Svc("fqdnonly", (Slice(raw={"addressType": "FQDN", "endpoints": [{"addresses": ["x.org"]}]}),)),
    Svc("nameless", (Slice("a", raw={"ports": [{"port": 8080, "protocol": "TCP"}]}), Slice("b"))),
    Svc("portless", (Slice("a", raw={"ports": [{"name": "http"}]}), Slice("b"))),
    Svc("unported", (Slice("a", raw={"ports": None}), Slice("b"))),
    Svc("bare2", (Slice("a", raw={"endpoints": None}), Slice("b"))),
    Svc("othername", (Slice("a", raw={"ports": [{"name": "https", "port": 8080}]}), Slice("b"))),
    Svc(
        "otherproto",
        (
            Slice("a", raw={"ports": [{"name": "http", "port": 8080, "protocol": "UDP"}]}),
            Slice("b"),
        ),
    ),
    Svc("tcpunsaid", (Slice("a", raw={"ports": [{"name": "http", "port": 8080}]}),)),
    Svc(
        "twoports",
        (Slice("a", raw={"ports": [{"name": "http", "port": each} for each in (8080, 5353)]}),),
    ),
    Svc("unlabelled", (Slice("a", families=_ONLY_V4, raw={"metadata": {"name": "x-unlabelled"}}),)),
    Svc(
        "first",
        (
            Slice(families=_ONLY_V4, raw={"endpoints": [{"addresses": [_A[V4], _B[V4]]}]}),
            Slice(families=(V6,), raw={"endpoints": [{"addresses": [_A[V6], _B[V6]]}]}),
        ),
    ),
    Svc(
        "wrong",
        (
            Slice(
                families=_ONLY_V4,
                raw={"endpoints": [{"addresses": [_A[V6]]}, {"addresses": [_B[V4]]}]},
            ),
            Slice("b", families=(V6,)),
        ),
    ),
    Svc(
        "mirrored",
        "a b",
        labels={"endpointslice.kubernetes.io/managed-by": "someone-else.example.com"},
    ),
    Svc("unnamed", "a b", Port(name="")),
)
DOCUMENT_FLOWS = table("""
    c  fqdn:80        a       a slice of names is left out
    c  fqdnonly:80    REJECT  a slice of names alone is no endpoint
    c  nameless:80    b       a slice's port without a name joins no port
    c  portless:80    b       a slice's port without a number is none
    c  unported:80    b       a slice without ports has nothing to give
    c  bare2:80       b       a slice without endpoints neither
    c  othername:80   b       ports join by name
    c  otherproto:80  b       ports join by protocol
    c  tcpunsaid:80   a       a protocol that is not said is TCP
    c  twoports:80    a a:5353    one name may stand for two numbers
    c  unlabelled:80  REJECT  a slice that names no Service belongs to none
    c  first:80       a       an endpoint's first address counts
    c  wrong:80       b       an address of the other family is left out
    c  mirrored:80    a b     whoever made the slices
    c  unnamed:80     a b     one port may lack a name
""")

SLOPPY = (
    Svc(
        "padded",
        (
            Slice(
                families=_ONLY_V4,
                raw={"endpoints": [{"addresses": ["010.244.001.005"], "nodeName": "node1"}]},
            ),
        ),
        clusterIP="010.096.000.010",
        clusterIPs=["010.096.000.010"],
        ipFamilies=["IPv4"],
        externalIPs=["203.000.113.010"],
        loadBalancerSourceRanges=["192.168.077.009/32"],
        balancer=True,
        ingress={"ip": "198.051.100.010"},
    ),
)
SLOPPY_FLOWS = table(
    """
    c        padded:80      a     leading zeros in a ClusterIP are read past
    c        padded.ext:80  a*    leading zeros in an external address
    outside  padded.lb:80   a*    leading zeros in a balancer's address and in a source range
    c        padded.lb:80   DROP  and that source range is in force
    """,
    _ONLY_V4,
)

WORLDS = (
    World(
        "slices",
        CONDITIONS + DUPLICATES + DOCUMENTS,
        CONDITION_FLOWS + DUPLICATE_FLOWS + DOCUMENT_FLOWS,
    ),
    World("sloppy addresses", SLOPPY, SLOPPY_FLOWS),
)
