"""Where objects come from: a feed turns a source into changes.

interface    what every feed promises            decode       documents → objects or errors
directory    a folder of manifests (inotify)     documents    bytes → documents, with bounds
cluster      a cluster's API server              reflector    list and watch of one kind
                                                 api_server   HTTP
                                                 access       configuration, TLS, tokens
                                                 transport    connections that can be cut
"""
