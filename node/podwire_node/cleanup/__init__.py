"""`podwire cleanup`: what podwire, or a kube-proxy, put in force here, and how it goes.

rows   what was found, and what became of it     ours     what podwire put in force
shown  a table, or JSON                          running  agents of this network namespace
command  the command line                        (a kube-proxy's: kube_proxy/removal.py)
"""
