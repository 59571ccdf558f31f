"""NetworkPolicies (networking.k8s.io/v1) as nftables rules, and a judge for them.

    oracle      who may talk to whom, and which rule decided: naive, from the API's text
    addresses   which pod owns an address while two name it
    isolation   which policies isolate a pod: its isolation groups
    spans       intervals of addresses and ports: merged, cut, disjoint
    sets        what rules look into: pods, CIDRs, ports, named ports; each interned by content
    rules       one allow rule of a policy → nft rules
    skeleton    the base chain, the two dispatch maps, the set of pods talking to themselves
    plan        isolation groups and policies → every chain and set
    policies    the plan and its elements, kept up to date object by object

The oracle shares nothing with the compiler but the order of rights in `addresses`: tests
hold each against the other. Nothing here has an effect.
"""
