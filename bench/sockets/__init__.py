"""What reaching a Service costs a socket, measured piece by piece; bench/ebpf.py runs it all.

dial.c        sockets that connect, ask and stream, contender after contender, in turns
turns         one kind of work, and what each contender took for it
places        a cgroup and a bpffs of our own
sites         a node with a client and a server, its tables filled or empty
filling       nftables or the maps filled with one cluster and changed, in a process of its own
agent         a whole agent that reads the cluster from an API server, for its memory
report        the figures and the tables
"""
