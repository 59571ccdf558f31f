"""What is left to others: headless Services, ExternalName, labels that say so."""

from __future__ import annotations

from flows.objects import Port, Svc
from flows.rows import table
from flows.world import World

_ELSEWHERE = {"service.kubernetes.io/service-proxy-name": "another"}

SERVICES = (
    Svc("headless", "a", clusterIP="None", clusterIPs=["None"], external=True),
    Svc("unaddressed", "a", Port(node=30086), clusterIP="", clusterIPs=None, external=True),
    Svc("alias", "a", Port(node=30081), type="ExternalName", externalName="x.org", external=True),
    Svc("elsewhere", "a", Port(node=30082), external=True, balancer=True, labels=_ELSEWHERE),
    Svc(
        "unnamed",
        "a",
        Port(node=30083),
        labels={"service.kubernetes.io/service-proxy-name": ""},
    ),
    Svc("labelled", "a", Port(node=30084), labels={"service.kubernetes.io/headless": "true"}),
    Svc("web", "a b"),
)
FLOWS = table("""
    c        headless.ext:80     AWAY    a headless Service has no address to serve
    c        unaddressed.ext:80  AWAY    nor has one whose address is yet to come
    outside  node:30086          CLOSED  and no NodePort
    c        alias:80            DROP    an ExternalName is a name, even with a clusterIP
    c        alias.ext:80        AWAY    even with an external address
    outside  node:30081          CLOSED  even with a NodePort
    c        elsewhere:80        DROP    another proxy's Service is left to it
    c        elsewhere.ext:80    AWAY    and its external address
    c        elsewhere.lb:80     AWAY    and its balancer's
    outside  node:30082          CLOSED  and its NodePort
    c        unnamed:80          DROP    whatever the other proxy's name, even none
    outside  node:30083          CLOSED  and its NodePort, too
    c        labelled:80         DROP    a Service that is labelled headless is left alone
    outside  node:30084          CLOSED  and so is its NodePort
    c        web:80              a b     the others are served
""")

WORLDS = (World("invisible", SERVICES, FLOWS),)
