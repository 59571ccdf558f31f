"""Packet flows: who dials what, and where it ends. The tracer and the kernel run the same rows.

places         the nodes, pods and addresses of every world, drawn
objects        a Service and its slices in one line → the documents an API server holds
rows           a table of flows in plain text → Flow values
world          objects, the proxy's options and the rows that hold there

and the worlds, by noun:

basics         ClusterIPs: ports, protocols, refusals, hairpins; NodePorts
slices         which endpoints of which slices count: conditions, duplicates, odd documents
invisible      what is left to others: headless, ExternalName, labels
topology       hints for nodes and zones
policies       internalTrafficPolicy and externalTrafficPolicy
balancers      LoadBalancer addresses, externalIPs, source ranges
nodeports      where NodePorts answer
detectors      who counts as a local pod, and who is masqueraded
dual_stack     what is of one family only
wide           a ServiceCIDR that holds the nodes' network
affinity       where a second connection goes, after a first
matrix         every policy with every detector and source, by a naive twin
"""
