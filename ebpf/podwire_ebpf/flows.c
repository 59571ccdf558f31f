/*
 * The maps of the path for traffic from outside, beside those of maps.c. external.py says the same
 * to Python, and a test compares. Addresses and ports are as there.
 *
 *     opening       who says something to whom, one way     ->  under which address instead
 *     connections   the same, of connections whose client is proved
 *     fragments     a datagram in parts                     ->  the ports that its first part told
 *     insiders      a network                               ->  there: its addresses are the cluster's
 *
 * LRU maps take their memory at once: connections 40 MB for 131,072 connections, each of which has
 * two halves; opening 10 MB for 32,768; fragments 1 MB.
 */
enum way { REQUEST = 0, REPLY = 1 };

/* What a packet says of its connection; also the key under which its connection is known. */
struct flow {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 way;
	__u16 zero;
};

/* See connections.c. */
struct connection {
	struct address address;
	__be16 port;
	__u8 nftables;
	__u8 masquerade;
	/* A byte each, as two processors may write two at once. */
	__u8 answered;
	__u8 reset;
	__u8 finished[2]; /* by way: the client has said FIN, the endpoint has */
	__u64 list;
	__u64 last; /* when a packet came, give or take a second */
	__be32 number; /* of TCP; REQUEST: its SYN-ACK's; REPLY: what the endpoint acknowledged last */
	__u8 established; /* it stands in `connections`, not in `opening` */
	__u8 zero[3];
};

struct fragment_key {
	struct address source;
	struct address destination;
	__u32 id;
	__u8 protocol;
	__u8 way;
	__u16 zero;
};

struct ports {
	__be16 source;
	__be16 destination;
};

/* bits: 96 more than an IPv4 network has. */
struct insider_key {
	__u32 bits;
	struct address address;
};

TABLE("lru_hash", struct flow, struct connection, opening, 65536, 0);
TABLE("lru_hash", struct flow, struct connection, connections, 262144, 0);
TABLE("lru_hash", struct fragment_key, struct ports, fragments, 8192, 0);
TABLE("lpm_trie", struct insider_key, __u32, insiders, 4096, BPF_F_NO_PREALLOC);
