"""The machine's part: namespaces, links, processes, and a lab from nothing to ready.

cluster       up and down           daemons        controller, kubelets, agents
requirements  what must be there    processes      found by namespace, ended by pidfd
namespaces    made, entered, gone   links          the fabric and the nodes' legs on it
readiness     waiting for all of it       cgroups        where sockets are served
"""
