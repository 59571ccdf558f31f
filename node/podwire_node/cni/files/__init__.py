"""What is kept on the host: the client and the conflist, by the agent or by `podwire install`.

conflist, install               what is written, and how: whole, and only where it differs
conflist_keeper, host_files     the agent's: serve, then write; put back what somebody takes away
install_command, installation   podwire install
serving_agent                   whether ADD can be served
folder_events                   inotify
"""
