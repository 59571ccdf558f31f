"""NetworkPolicies and ClusterNetworkPolicies as nftables rules, and a judge for them.

    oracle         who may talk to whom, and which rule decided: naive, from the API's text
    addresses      which pod owns an address while two name it, or the node gave it to another
    nodes          whose addresses are a node's own, which are for pods of this one
    groups         which policies judge a pod: its groups
    subjects       this node's pods, and their groups
    population     all pods as sets see them, found by namespace and labels
    labels         selectors turned round
    spans          intervals of addresses and ports: merged, cut, disjoint
    sets           what rules look into: pods, nodes, CIDRs, ports; each interned by content
    library        … and declared while any rule looks into it
    ways           peers and ports of a rule → matches
    rules          a NetworkPolicy → nft rules
    cluster_rules  a ClusterNetworkPolicy → nft rules
    skeleton       what is always there: base chains, the levels of a direction, their maps
    rulebook       groups' chains, and the policies they are made of
    entrances      whose an address is, before any policy is asked
    reasons        what each chain that drops stands for
    wanted         everything wanted, and the changes of one update
    policies       all of it, kept up to date object by object

The oracle shares nothing with the compiler but the order of rights in `addresses`: tests
hold each against the other. Nothing here has an effect.
"""
