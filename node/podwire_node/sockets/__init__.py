"""Services at sockets: the part that owns the plane, beside nftables, which stays complete.

socket_service   the part: opens, fills, attaches, tries again, says how it stands
opening          the plane is opened in a thread: it may compile       place   where it is
filling          what the proxy says, and what is in the maps          prover  once a minute
own_addresses    where NodePorts answer                                outside traffic from outside
uplinks          links that lead out of the node
observing        what the programs are told, and who listens to what they tell
standing         how it stands, for all who ask or are told
earlier          what an agent of before left, and nobody keeps any more
"""
