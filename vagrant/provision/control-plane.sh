#!/bin/bash
# The control plane, without kube-proxy, and podwire in its place.
#
#   JOIN_TOKEN=… control-plane.sh OUR_ADDRESS
set -euo pipefail
address=$1
export KUBECONFIG=/etc/kubernetes/admin.conf

if [ ! -e $KUBECONFIG ]; then # provisioning again keeps the cluster
    kubeadm init --skip-phases addon/kube-proxy --token "$JOIN_TOKEN" --token-ttl 0 \
        --apiserver-advertise-address "$address" \
        --pod-network-cidr 10.244.0.0/16 --service-cidr 10.96.0.0/16
    install -d -o vagrant -g vagrant -m 0700 ~vagrant/.kube
    install -o vagrant -g vagrant -m 0600 $KUBECONFIG ~vagrant/.kube/config
fi
sed "s|^\( *apiServer:\) \"\"|\1 \"https://$address:6443\"|" /podwire/deploy/podwire.yaml |
    kubectl apply -f -
kubectl rollout status -n kube-system daemonset/podwire --timeout 180s
kubectl wait --for condition=Ready nodes --all --timeout 180s
