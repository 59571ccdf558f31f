"""How long pods wait for their network: what cni.py measures, piece by piece.

spawning   starts plugins as a runtime does (spawn.c), and times them
private    mounts of our own: a /run in memory, as on a node, that nobody else sees
nodes      a node of each contender, and pods for it
contenders stock ptp and bridge, podwire-cni alone, the client with an agent
rounds     pods one by one, pod by pod in turn; many at once; two families
pairs      10,000 ADD and DEL through one agent: memory, and what is left
client     the client alone
report     figures and tables
"""
