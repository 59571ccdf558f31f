"""Services and EndpointSlices to nftables maps.

what is asked
    options      what a person may choose; who counts as a pod
    frontend     what a client dials, and how it is served
    endpoints    slices → the endpoints of one port: all, those here, those that serve
    plans        Service + endpoints → frontends, each with its plan; source ranges, affinity
    health       what a healthCheckNodePort says
    gauges       what others ask about all frontends
    cluster      Nodes and ServiceCIDRs → where we are, who is a pod

what the kernel gets
    layout       a family's table: names, and what is asked of a packet
    skeleton     the chains, maps and sets that all Services share
    chains       those that come and go: few, and shared
    slots        which backend stands in which slot, with the least churn
    elements     a frontend, its plan and slots → elements and the chains they lead to
    shares       what several frontends need alike
    cidrs        addresses that are of no one machine

    services     all of it, kept up to date object by object (nft.desired.Desired)
"""
