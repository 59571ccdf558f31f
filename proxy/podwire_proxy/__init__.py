"""Services and EndpointSlices to nftables maps.

frontend     Service + slices → frontends (an address and port) with their backends
slots        which backend stands in which slot, with the least churn
skeleton     the chains, maps and sets that never change
elements     a frontend and its slots → the elements and the chain it needs
services     all of it, kept up to date object by object (nft.desired.Desired)
"""
