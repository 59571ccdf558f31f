"""A Kubernetes cluster of network namespaces on one machine.

topology   the values: a lab, its nodes, its address plan      folders   where its files are
workloads  manifests and pods as the lab reads them            report    what a kubelet says
control/   the small control plane: manifests + reports → objects
kubernetes/ a real control plane in its place: its processes, its certificates, its mirror
kubelet/   one node's pods: namespaces, the CNI plugin, containers, probes
machine/   namespaces, links and processes of this machine; up and down
programs/  what runs in pods: the echo server, DNS, the probe
show/      tables, drawings, reachability, a packet's journey, the demo
cli        podwire lab …   console, applied, changes, overview, lookup, visit: what they share

        cli ──► show ──► machine ──► kubernetes      control    kubelet ──► machine
                 └──────────┴───────────┴─── values at the top ────┘
"""
