"""The small nft library: rules as values, changes as transactions, the kernel at one door.

    expressions   what a rule looks at: fields, concatenations, random numbers
    statements    what a rule does: match, verdict, vmap, dnat, masquerade, reject, …
    objects       Table, Chain, Rule, Set, Map, Element, and the keys they are known by
    transaction   a list of (verb, object) that prints as nft text and commits at once
    kernel        libnftables: the one place where text meets the kernel
    writer        elements that come and go, straight to nf_tables
    netlink       nf_tables' own protocol: messages, attributes, dumps
    datatypes     the bytes of keys and values, and nft's words for them
    intervals     elements that are networks and ranges
    sets          a set as the kernel tells of it: what its keys and values are
    elements      a set's elements as the kernel dumps them → keys and fingerprints
    reader        all that is in force of some tables, of one moment
    lookup        one element by its key, and what rules counted
    listing       the same of what libnftables lists, for what only it can spell
    entries       what packets wrote into dynamic sets, and how it is forgotten
    desired       what is asked of whoever wants something in force
    owner         what is in force of our tables, and the only one to change it
    ledger        a quarter of a million keys in few bytes
    monitor       someone else changed our tables: the kernel's own notification
    fake          the kernel's part, in memory: same refusals, and a tracer reads it
    packet        a packet, and what nft's fields are of it
    tracer        one packet through the fake's chains: which rules it met, what became of it

The words are nft's: a reader who knows `nft` knows this package, and the other way round.
"""
