#!/bin/bash
# A node of the cluster. podwire's DaemonSet comes by itself.
#
#   JOIN_TOKEN=… node.sh CONTROL_PLANE_ADDRESS
set -euo pipefail

if [ ! -e /etc/kubernetes/kubelet.conf ]; then
    # Unsafe elsewhere: here the private network has no one but these machines.
    kubeadm join "$1:6443" --token "$JOIN_TOKEN" --discovery-token-unsafe-skip-ca-verification
fi
