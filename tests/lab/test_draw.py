"""The drawing, as a person sees it."""

from __future__ import annotations

import pytest

from podwire_lab.overview import ready_endpoints
from podwire_lab.show.draw import PODS_PER_NODE, draw_topology

SHOP = """
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: api, namespace: shop}
    spec:
      replicas: 3
      selector: {matchLabels: {app: api}}
      template:
        metadata: {labels: {app: api}}
        spec: {containers: [{name: c}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: api, namespace: shop}
    spec:
      type: NodePort
      ipFamilyPolicy: PreferDualStack
      selector: {app: api}
      ports: [{name: http, port: 80, nodePort: 30080}, {name: dns, port: 53, protocol: UDP}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: a-pod-with-a-very-long-name-1, namespace: shop}
    spec: {nodeName: node2, containers: [{name: c}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: lost, namespace: shop}
    spec: {nodeName: node9, containers: [{name: c}]}
"""

DRAWING = """\
┌──── fabric ──────────────────────────────────────────────────────────────────┐
│ 192.168.100.1  fd00:192:168:100::1                                           │
└┬─────────────────────────────────────────────────────────────────────────────┘
 └────┬──────────────────────────────────────┐
   ┌──┴─ node1 ─────────────────────────┐ ┌──┴─ node2 ─────────────────────────┐
   │ node  192.168.100.11               │ │ node  192.168.100.12               │
   │       fd00:192:168:100::11         │ │       fd00:192:168:100::12         │
   │ pods  10.244.1.0/24                │ │ pods  10.244.2.0/24                │
   │       fd00:10:244:1::/64           │ │       fd00:10:244:2::/64           │
   ├────────────────────────────────────┤ ├────────────────────────────────────┤
   │ ● kube-system/ku…-4q8g4 10.244.1.2 │ │ ● shop/a-pod-wit…name-1 10.244.2.3 │
   │ ● shop/api-0            10.244.1.4 │ │ ◐ shop/api-1            10.244.2.5 │
   │ ● shop/api-2            10.244.1.6 │ └────────────────────────────────────┘
   └────────────────────────────────────┘
   ● ready  ◐ not ready  ○ pending  ◌ leaving  ✓ done  ✗ failed
   ○ shop/lost: spec.nodeName: the lab has no node node9

SERVICE               TYPE       ADDRESS        PORTS         READY
kube-system/kube-dns  ClusterIP  10.96.0.10     53/UDP        1/1
                                                53/TCP
shop/api              NodePort   10.96.0.11     80:30080/TCP  2/3
                                 fd00:10:96::b  53:30000/UDP"""


def test_two_nodes_at_eighty_columns(cluster):
    cluster.apply(SHOP).play().report("shop/api-1", ready=False)
    assert str(draw_topology(cluster.lab, cluster.snapshot)) == DRAWING


@pytest.mark.parametrize("width", [20, 42, 60, 80, 100, 132, 250])
@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 9])
def test_it_fits_every_width_and_every_node_is_there(make_cluster, nodes, width):
    cluster = make_cluster(nodes).apply(SHOP).settle()
    lines = str(draw_topology(cluster.lab, cluster.snapshot, width)).split("\n")
    assert max(map(len, lines)) <= max(42, width)
    text = "\n".join(lines)
    assert all(f"─ node{number} ─" in text for number in range(1, nodes + 1))


def test_a_crowded_node_shows_some_pods_and_counts_the_rest(make_cluster):
    cluster = make_cluster(1).apply(SHOP.replace("replicas: 3", "replicas: 29")).settle()
    text = str(draw_topology(cluster.lab, cluster.snapshot))
    assert text.count("●") - 1 == PODS_PER_NODE  # one stands in the legend
    assert f"… and {29 + 1 - PODS_PER_NODE} more" in text  # kube-dns runs there too


NOWHERE = """
    apiVersion: v1
    kind: Service
    metadata: {name: nowhere, namespace: shop}
    spec: {selector: {app: api}, ports: [{port: 80, targetPort: unknown}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: names, namespace: shop}
    spec: {selector: {app: api}, clusterIP: None}
"""


def test_a_target_port_that_no_pod_has_gives_no_ready_endpoints(cluster):
    cluster.apply(SHOP).apply(NOWHERE).settle()
    ready = {str(name): count for name, count in ready_endpoints(cluster.snapshot).items()}
    assert (ready["shop/nowhere"], ready["shop/api"], ready["shop/names"]) == (0, 3, 3)
    lines = str(draw_topology(cluster.lab, cluster.snapshot, 120)).splitlines()
    assert [line.split()[-1] for line in lines if "shop/nowhere" in line] == ["0/3"]


def test_addresses_for_the_world_stand_below_a_services_own(cluster):
    cluster.apply("""
        apiVersion: v1
        kind: Service
        metadata: {name: front, namespace: shop}
        spec: {type: LoadBalancer, externalIPs: [203.0.113.7], ports: [{port: 80, nodePort: 30080}]}
    """)
    drawing = str(draw_topology(cluster.lab, cluster.snapshot, 80))
    assert drawing.splitlines()[-3:] == [
        "shop/front            LoadBalancer  10.96.0.11              80:30080/TCP  0/0",
        "                                    192.168.101.11 outside",
        "                                    203.0.113.7 outside",
    ]
