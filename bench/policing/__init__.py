"""What policies cost a node, measured piece by piece; bench/policy.py runs it all.

crowd         the cluster: namespaces, pods, policies, and pods that come
podwire       our policy engine without its agent
kube_router   iptables and ipset as kube-router writes them, from the same objects
filling       one of them filled with one cluster, in a process of its own
rounds        what is filled and when; each fill in a fresh namespace
connecting    connect() between two isolated pods
agent         a whole agent that reads the cluster from an API server, for its memory
report        the figures and the tables
"""
