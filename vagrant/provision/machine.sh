#!/bin/bash
# A machine that kubeadm accepts: containerd, kubelet, kubeadm, forwarding, no swap.
#
#   machine.sh KUBERNETES_MINOR OUR_ADDRESS
set -euo pipefail
minor=$1
address=$2
export DEBIAN_FRONTEND=noninteractive

swapoff -a
sed -i '/\sswap\s/d' /etc/fstab
printf 'net.ipv4.ip_forward = 1\nnet.ipv6.conf.all.forwarding = 1\n' >/etc/sysctl.d/90-kubernetes.conf
sysctl --quiet --load /etc/sysctl.d/90-kubernetes.conf

apt-get update -q
apt-get install -yq --no-install-recommends buildah ca-certificates containerd curl gpg make

source=https://pkgs.k8s.io/core:/stable:/v$minor/deb
key=/etc/apt/keyrings/kubernetes.gpg
mkdir -p /etc/apt/keyrings
curl --fail --silent --show-error --location "$source/Release.key" | gpg --dearmor --yes --output $key
echo "deb [signed-by=$key] $source/ /" >/etc/apt/sources.list.d/kubernetes.list
apt-get update -q
apt-get install -yq --no-install-recommends kubeadm kubectl kubelet
apt-mark hold kubeadm kubectl kubelet

# Debian's containerd looks for CNI plugins in a folder of Debian's; kubelet drives systemd's cgroups.
containerd config default |
    sed 's|SystemdCgroup = false|SystemdCgroup = true|; s|bin_dir = .*|bin_dir = "/opt/cni/bin"|' \
        >/etc/containerd/config.toml
systemctl restart containerd

# A machine's first address is that of its way to the world, the same on all of them.
echo "KUBELET_EXTRA_ARGS=--node-ip=$address" >/etc/default/kubelet
systemctl restart kubelet
