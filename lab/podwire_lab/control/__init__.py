"""The small control plane: what the user applied and what kubelets report, as objects.

desired      all of it, pure: (lab, manifests, reports, current, now) → objects
controller   the process around it             manifests   documents with their source
past         what was decided before and stays: addresses, nodes, names
ledger       who has which address and port     traffic     policies of Services, and defaults
scheduler, rollout, pods, status, services, endpoints, system   one noun of it each
"""
