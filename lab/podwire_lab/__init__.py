"""A Kubernetes cluster of network namespaces on one machine.

topology    the values: a lab, its nodes, its address plan      folders   where its files are
control     manifests + reports → objects (pure)                controller  the process around it
runner      a node's kubelet: pods of its node → namespaces     echo, dns   what pods run
cluster     up, down: namespaces, links, processes              cli         podwire lab …
"""
