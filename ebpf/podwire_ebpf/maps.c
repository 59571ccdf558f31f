/*
 * The maps, and what stands in them. layout.py says the same to Python, and a test compares.
 *
 * An address is sixteen bytes in network order; an IPv4 address is ::ffff:a.b.c.d (RFC 4291,
 * 2.5.5.2). So there is one map for both families, and a dual-stack socket that dials
 * ::ffff:10.96.0.10 looks up what an IPv4 socket looks up. Ports are in network order too; all
 * other numbers are the machine's.
 *
 *     frontends   what is dialled: address, port, protocol  ->  which list, and its first endpoints
 *     endpoints   list, slot (16 to count - 1)              ->  address, port
 *     members     list, address, port                       ->  1: ready; 2: it serves while it ends
 *     affinity    client, list                              ->  where it went last, and when
 *     peers       a connected TCP socket, by number         ->  its endpoint, and what it dialled
 *     reverse     socket, endpoint                          ->  what it dialled
 *                 socket, what it dialled (forward)         ->  its endpoint
 *     addresses   an address of this node                   ->  there: NodePorts answer at it
 *     counters    number of a Service's list, by blocks     ->  connections, refusals, per CPU
 *     settings    0                                         ->  what the programs are to do
 *     canaries    socket                                    ->  which programs saw it
 *     lost        0                                         ->  events the ring had no room for
 *     events      a ring of translations, written while someone listens
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/in.h>

#ifndef PODWIRE_MAPS
#error "PODWIRE_MAPS is the folder of bpffs where the maps are pinned"
#endif

struct address {
	__u32 word[4];
};

/* Who asks. A policy Local gives a socket of this node other endpoints than the world outside. */
enum scope { INSIDE = 0, OUTSIDE = 1 };

struct frontend_key {
	struct address address; /* 0.0.0.0 or ::, a NodePort of that family at each of `addresses` */
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 scope;
};

/*
 * The kernel may give the memory of a deleted element to another while a reader is still in it.
 * `seal` is the sum of the other words and of the key's: whoever reads knows what was read, one
 * element, whole, and its own. So it is for endpoints.
 */
struct frontend {
	__u64 list;
	__u32 count; /* of endpoints; 0: refuse */
	__u32 affinity; /* seconds a client is remembered after its last connection; 0: not at all */
	__u16 counter; /* 0: not counted */
	__u16 flags;
	__u32 seal;
};

/* flags of struct frontend, of scope OUTSIDE alone */
enum {
	MASQUERADE = 1, /* the endpoint answers this node, not the client */
	BY_SOURCE = 2, /* who is in the cluster has other endpoints: nftables knows which */
};

struct endpoint_key {
	__u64 list;
	__u32 slot;
	__u32 zero;
};

struct endpoint {
	struct address address;
	__be16 port;
	__u16 zero;
	__u32 seal;
};

/*
 * What a connect() costs is the memory it touches first: each page that no cache holds is a third
 * of a microsecond, a hash's element two of them. So the first endpoints stand in the frontend's own
 * element, and a Service with no more is replaced as a whole.
 */
#define FIRST 16

struct service {
	struct frontend frontend;
	struct endpoint first[FIRST]; /* slots 0 to 15 */
};

struct member_key {
	__u64 list;
	struct address address;
	__be16 port;
	__u16 zero;
	__u32 zeroes;
};

/* client: INSIDE the cookie of a network namespace, in the first two words; OUTSIDE an address. */
struct affinity_key {
	struct address client;
	__u64 list;
	__u32 scope;
	__u32 zero;
};

struct affinity {
	struct address address;
	__be16 port;
	__u16 zero;
	__u32 zeroes;
	__u64 last; /* nanoseconds of CLOCK_MONOTONIC */
};

/*
 * Both ways of a conversation. By `forward` a socket that does not connect() stays with its endpoint;
 * it may have many entries: they are a chain, whose head stands under no endpoint (all zero), so
 * that a socket that closes takes all of them with it.
 */
struct reverse_key {
	__u64 socket; /* its cookie */
	struct address address; /* the endpoint; forward: what was dialled */
	__be16 port;
	__u16 forward;
	__u32 zeroes;
};

struct reverse {
	struct address address; /* what was dialled; forward: the endpoint */
	__be16 port; /* 0: the socket dialled the endpoint itself since, or this is a head */
	__u8 wildcard; /* a NodePort: its frontend is 0.0.0.0 or :: */
	__u8 zero;
	struct address next_address; /* the key of the chain's next entry */
	__be16 next_port;
	__u16 next_forward;
};

/*
 * A connected TCP socket: in the place of its cookie, modulo the number of places. Cookies are handed
 * out in rows, so the next socket finds its place in the cache, which is why this is no hash. Who
 * comes later has the place, and who held it goes to `reverse`: it may have closed unseen.
 *
 * seal: the sum of the words before, as two sockets may take a free place at the same moment.
 */
#define PEERS 32768

struct peer {
	__u64 socket; /* its cookie; 0: a free place */
	struct address endpoint;
	struct address dialled;
	__be16 endpoint_port;
	__be16 dialled_port;
	__u32 seal;
	__u32 crowded; /* stays: a socket that held this place was sent to `reverse` */
	__u32 zero;
};

/*
 * An element of a per-CPU array is found by a pointer that stands in a list: with one element a
 * counter that list alone would be 512 KB, of which each connect() touches another place.
 */
#define BLOCK 64

struct counter {
	__u64 connections; /* of UDP: conversations */
	__u64 refused;
};

struct block {
	struct counter counter[BLOCK];
};

/* flags of struct settings */
enum { OBSERVED = 1, LOCALHOST = 2 }; /* someone listens; NodePorts answer at 127.0.0.0/8 and ::1 */

struct settings {
	__u64 node; /* cookie of the node's own network namespace */
	__u32 flags;
	__u32 zero;
};

/* hooks: a bit for each program that saw the socket, 1 << enum bpf_attach_type. */
struct canary {
	__u64 namespace; /* cookie of the socket's network namespace */
	__u64 hooks;
};

struct event {
	__u64 time; /* nanoseconds of CLOCK_MONOTONIC */
	__u64 namespace;
	__u64 socket;
	__u64 cgroup; /* of the process that called; 0 where the kernel does not say */
	struct address dialled;
	struct address endpoint; /* all zero: refused */
	__be16 dialled_port;
	__be16 endpoint_port;
	__u8 protocol;
	__u8 hook; /* enum bpf_attach_type */
	__u16 zero;
};

/*
 * Sizes. Hashes take memory as they grow, but for their buckets: frontends have no more than a
 * cluster needs, as each connect() reads another bucket. All else has its memory at once: reverse
 * 11 MB, affinity 8 MB, peers 1.5 MB, counters 1 MB a CPU. Anybody may sing as a canary: there is
 * room for many, so that the agent finds its own.
 */
#define TABLE(kind, key, value, name, entries, flags) \
	BPF_TABLE_PINNED(kind, key, value, name, entries, PODWIRE_MAPS "/" #name, flags)

TABLE("hash", struct frontend_key, struct service, frontends, 32768, BPF_F_NO_PREALLOC);
TABLE("hash", struct endpoint_key, struct endpoint, endpoints, 262144, BPF_F_NO_PREALLOC);
TABLE("hash", struct member_key, __u32, members, 262144, BPF_F_NO_PREALLOC);
TABLE("hash", struct address, __u32, addresses, 4096, BPF_F_NO_PREALLOC);
TABLE("lru_hash", struct affinity_key, struct affinity, affinity, 65536, 0);
TABLE("lru_hash", struct reverse_key, struct reverse, reverse, 65536, 0);
TABLE("array", __u32, struct peer, peers, PEERS, 0);
TABLE("percpu_array", __u32, struct block, counters, 65536 / BLOCK, 0);
TABLE("array", __u32, struct settings, settings, 1, 0);
TABLE("lru_hash", __u64, struct canary, canaries, 4096, 0);
TABLE("percpu_array", __u32, __u64, lost, 1, 0);

/* As BPF_RINGBUF_OUTPUT of bcc, which has no pinned one. */
struct events_table_t {
	int key;
	__u32 leaf;
	int (*ringbuf_output)(void *, __u64, __u64);
	void *(*ringbuf_reserve)(__u64);
	void (*ringbuf_discard)(void *, __u64);
	void (*ringbuf_submit)(void *, __u64);
	__u32 max_entries;
};
__attribute__((section("maps/ringbuf:" PODWIRE_MAPS "/events")))
struct events_table_t events = { .max_entries = 1 << 20 };
