"""What runs inside pods; echo and probe need nothing but the standard library.

echo    answers on every port with the pod's name, its node and the client's address
probe   asks many targets at once who answers
dns     the cluster's names on the wire        zone   the same, pure
"""
