"""One node's kubelet: pods bound to the node become namespaces, links and processes.

runner      the process: one loop over objects, children and timers
pod         one pod's life, with machine and clock injected     container   one container's
sandbox     a pod's namespace and files        cni_client   the plugin, as a runtime calls it
command     what a container runs              launch       how it is started
probes      readiness
"""
