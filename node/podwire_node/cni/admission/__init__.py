"""Pods that come and go, from the calls' threads to the agent's loop and back.

admission       where threads and loop meet
attached_pods   the loop's half: own pods' addresses, and when a pod is in force
pod_ports       hostPorts, as a part of the loop
"""
