"""A real control plane under a lab: etcd and Kubernetes' own programs, beside the fabric.

programs      where its programs are            certificates  keys and X.509, made on the fly
credentials   who gets which of them            access        what the agents may do (RBAC)
plane         the processes and their flags     proxy         the real kube-proxy, in place of ours
api           requests to its API server        applying      manifests given to it
kubectl       its command line                  mirror        its objects as files, for the lab
settled       whether it is done with everything

        kubectl ─► API server ◄─ mirror ─► objects/ ◄─ status, draw, exec, DNS
                       ▲
                       └── controller manager, scheduler, the nodes' kubelets and agents
"""
