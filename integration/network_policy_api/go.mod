// The definition of ClusterNetworkPolicies, taken from its module by `make cluster-policies` for
// tests. podwire itself never needs Go.
module podwire.invalid/integration/network_policy_api

go 1.26.0

require sigs.k8s.io/network-policy-api v0.2.0
