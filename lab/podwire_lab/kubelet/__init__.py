"""One node's kubelet: pods bound to the node become namespaces, links and processes.

runner      the process                        member       what it is made of in a real cluster
node_pods   one loop over pods and keepers     source       where pods come from, reports go
pod         one pod's life, with machine       api_source   the same of an API server
            and clock injected                 pod_status   reports as the API's status
container   one container's                    work_queue   what is still to be sent
sandbox     a pod's namespace and files        node_keeper  the Node and its lease
cni_client  the plugins, as a runtime          node_object  the same as values
            calls them: plugin_process         server       HTTPS: logs, log_reader
networks    which plugins these are            file_events  the door to inotify
agent_state whether the agent lets pods in
command     what a container runs              launch       how it is started
probes      readiness                       accounts     tokens for pods; requests, logs

        Source ──► NodePods ──► PodKeeper ──► Sandbox ──► namespaces, plugins, processes
           ▲                        │
           └──────── reports ───────┘
"""
