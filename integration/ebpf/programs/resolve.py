"""getaddrinfo() with a resolv.conf of its own: resolve.py FILE NAME, in mounts of its own."""

from __future__ import annotations

import socket
import subprocess
import sys

subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
print(socket.getaddrinfo(sys.argv[2], None, socket.AF_INET)[0][4][0])
