"""The node agent and the `podwire` command.

agent        one loop: waits for facts, keeps tables and routes right
programmer   desired state → transaction → kernel, with repair and back-off
routes       Nodes → routes to their pods (pure)       routing   rtnetlink
status       what the agent says of itself             cli       podwire …
"""
