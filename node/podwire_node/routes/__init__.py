"""Routes to the other nodes' pods.

node_routes  the part of the agent: keeper, and the kernel's word
keeper       compare with the kernel, send what differs          plan      who is reached how, pure
peers        the other nodes, and their usable podCIDRs          reach     what our own links reach
overlay      VXLAN as values: addresses, MAC, MTU                forwarding  sysctls, put back
doors to the kernel: routing (routes), overlay_device (VXLAN), monitor (announcements)
"""
