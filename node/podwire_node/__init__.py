"""The node agent and the `podwire` command.

cli          podwire …
agent        one loop: waits for facts, gives them to parts
intake       what the feed says: objects, and what of them cannot be used
parts        what the parts are, and when each may begin
programmer   desired state → transaction → kernel, with repair and back-off
masquerade   what leaves the cluster (pure)     absent    tables that are not wanted any more
guard        what pods may not send (pure)
sources      the feed that the settings name    pace      how often others' changes are undone

routes/      to the other nodes' pods           cni/      what container runtimes talk to
settings/    flags, environment, one file       reports/  status, logs, events, conditions
"""
