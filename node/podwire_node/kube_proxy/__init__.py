"""In kube-proxy's place: its flags, its configuration, and what it leaves in the kernel.

command        `podwire proxy`                 flags          kube-proxy's, a row each
configuration  its file → our settings         defaults       what it has unless told
leftovers      which chains are its own        iptables       the programs that list and restore
removal        all it left, removed            take_over      the same, once ours is in force
"""
