"""What every lab runs beside what its user applied: the cluster's DNS."""

from __future__ import annotations

from podwire_lab.control.manifests import Document, Manifest, read_manifest
from podwire_lab.topology import DNS_V4

#: A command that the runner turns into the lab's own DNS server (podwire_lab.programs.dns).
DNS_COMMAND = "podwire-lab-dns"

_DNS_META = {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}

_DNS_SERVICE: Document = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": _DNS_META,
    "spec": {
        "clusterIP": DNS_V4,
        "selector": {"k8s-app": "kube-dns"},
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp"},
        ],
    },
}

_DNS_DEPLOYMENT: Document = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": _DNS_META,
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
        "template": {
            "metadata": {"labels": {"k8s-app": "kube-dns"}},
            "spec": {
                "containers": [
                    {
                        "name": "dns",
                        "image": DNS_COMMAND,  # never pulled; a real API server wants one
                        "command": [DNS_COMMAND],
                        "ports": [
                            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
                        ],
                    }
                ],
                "terminationGracePeriodSeconds": 0,
            },
        },
    },
}

SYSTEM: tuple[Manifest, ...] = tuple(
    read_manifest("the lab itself", document) for document in (_DNS_SERVICE, _DNS_DEPLOYMENT)
)
