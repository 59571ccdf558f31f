/* What the client and the agent say to each other: one CNI call a connection.
 *
 *   client                                                        agent
 *     │  "PWC1"  E  S   environment (E bytes)   stdin (S bytes)  ──►│
 *     │     └─ beside this first piece: SCM_RIGHTS with CNI_NETNS,  │
 *     │        opened, if there is one                              │
 *     │◄──  "PWA1"  code  O   stdout (O bytes)                      │
 *
 * E, S, code and O are 4 bytes each, the largest first (network order). The environment is
 * NAME=value with a zero byte behind each, and holds the variables of call.c alone. stdin is
 * the configuration as it came. The client prints the O bytes and exits with the code. Until
 * then it keeps the connection open both ways: one that is closed tells the agent that nobody
 * waits any more.
 *
 * A stream and not SOCK_SEQPACKET, whose messages are bounded by net.core.wmem_max (208 KiB);
 * a configuration may have 1 MiB.
 *
 * What waits on disk for an agent is such a message too (queue.c).
 *
 * The agent's half is node/podwire_node/cni/calls/wire.py; a test compares the numbers. A change
 * that an older half would not understand needs another magic word: while a node is upgraded
 * the two are of different age.
 */
#ifndef PODWIRE_PROTOCOL_H
#define PODWIRE_PROTOCOL_H

#define REQUEST_MAGIC "PWC1"
#define ANSWER_MAGIC "PWA1"
#define HEADER_BYTES 12
#define ENVIRONMENT_BYTES 65536
#define STDIN_BYTES 1048576
#define ANSWER_BYTES 1048576

#endif
