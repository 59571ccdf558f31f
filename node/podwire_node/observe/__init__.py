"""What policies drop: heard from the kernel, named, kept for a while, shown.

rule ─► NFLOG ─► drops (a thread) ─► packet, record ─► ring ─► `podwire observe`
                                      bytes  names      4,096   command, shown

drops    hears the log               packet  a packet's head, from bytes that may be anything
record   a drop, in Hubble's words   ring    the last of them, and who follows
wanted   which of them are asked for verb    answers over the control socket
command  `podwire observe`           shown   a record as lines for people
"""
