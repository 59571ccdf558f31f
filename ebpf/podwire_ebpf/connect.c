/*
 * connect() of TCP and UDP, and getpeername(): the address is exchanged before a route is looked
 * up or a packet made, so that what follows costs nothing.
 *
 *     connect()       10.96.0.10:80  ->  10.244.1.5:8080
 *     getpeername()   10.244.1.5:8080  ->  10.96.0.10:80       by peers (TCP), by reverse (UDP)
 *
 * A return of 0 refuses the call, with the error that bpf_set_retval gave (Linux 5.18; EPERM before).
 */
#define DISCARD bpf_htons(9)
#define ECONNREFUSED 111

static __always_inline struct address address4(const struct bpf_sock_addr *ctx)
{
	struct address it = { { 0, 0, bpf_htonl(0xffff), ctx->user_ip4 } };
	return it;
}

static __always_inline struct address address6(const struct bpf_sock_addr *ctx)
{
	struct address it = { { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
				ctx->user_ip6[3] } };
	return it;
}

static __always_inline void put4(struct bpf_sock_addr *ctx, const struct address *a, __be16 port)
{
	ctx->user_ip4 = a->word[3];
	ctx->user_port = port;
}

static __always_inline void put6(struct bpf_sock_addr *ctx, const struct address *a, __be16 port)
{
	ctx->user_ip6[0] = a->word[0];
	ctx->user_ip6[1] = a->word[1];
	ctx->user_ip6[2] = a->word[2];
	ctx->user_ip6[3] = a->word[3];
	ctx->user_port = port;
}

/*
 * 192.0.0.8 (RFC 7600) and 100::8 (RFC 6666) port 9 lead nowhere. Who calls there asks whether we
 * are here: the answer stands in `canaries`, and no packet leaves.
 */
static __always_inline int is_canary(const struct address *a, __be16 port)
{
	if (port != DISCARD)
		return 0;
	if (is_ipv4(a))
		return a->word[3] == bpf_htonl(0xc0000008);
	return a->word[0] == bpf_htonl(0x01000000) && a->word[1] == 0 && a->word[2] == 0 &&
	       a->word[3] == bpf_htonl(8);
}

static __always_inline int record_canary(struct bpf_sock_addr *ctx, int hook)
{
	__u64 socket = cookie_of_socket(ctx);
	struct canary it = { .namespace = bpf_get_netns_cookie(ctx), .hooks = 1ULL << hook };
	struct canary *before = canaries.lookup(&socket);

	if (before)
		it.hooks |= before->hooks;
	canaries.update(&socket, &it);
	return REFUSE;
}

static __always_inline int refuse(void)
{
#ifdef HAVE_SET_RETVAL
	bpf_set_retval(-ECONNREFUSED);
#endif
	return REFUSE;
}

/* to: all zero where the call was refused. */
static __always_inline void tell(struct bpf_sock_addr *ctx, const struct address *dialled,
				 const struct frontend_key *key, const struct endpoint *to, int hook)
{
	struct event it = {};
	__u32 zero = 0;

	if (!(flags_in_force() & OBSERVED))
		return;
	it.time = bpf_ktime_get_ns();
	it.namespace = bpf_get_netns_cookie(ctx);
	it.socket = cookie_of_socket(ctx);
	it.cgroup = bpf_get_current_cgroup_id();
	it.dialled = *dialled;
	it.dialled_port = key->port;
	it.endpoint = to->address;
	it.endpoint_port = to->port;
	it.protocol = key->protocol;
	it.hook = hook;
	if (events.ringbuf_output(&it, sizeof(it), 0)) {
		__u64 *unwritten = lost.lookup(&zero);

		if (unwritten)
			__sync_fetch_and_add(unwritten, 1);
	}
}

static __always_inline __u32 seal_of_peer(const struct peer *it)
{
	return sum_long(it->socket) + sum_address(&it->endpoint) + sum_address(&it->dialled) +
	       word_of(it->endpoint_port, it->dialled_port);
}

/* The place of a connected TCP socket, if it has one. */
static __always_inline struct peer *place_of(__u64 socket)
{
	__u32 number = socket % PEERS;
	struct peer *it = peers.lookup(&number);

	return it && it->socket == socket ? it : 0;
}

/*
 * The socket that holds a place goes to `reverse`, where it is found as well and forgotten in time:
 * the kernel never says that a subflow of MPTCP closes, nor what closed while no program looked.
 */
static __always_inline void leave_for_reverse(struct peer *place)
{
	struct peer it = *place;
	struct reverse_key pair = { .socket = it.socket, .address = it.endpoint,
				    .port = it.endpoint_port };
	struct reverse dialled = { .address = it.dialled, .port = it.dialled_port };

	if (it.seal != seal_of_peer(&it))
		return;
	reverse.update(&pair, &dialled);
	place->crowded = 1;
}

static __always_inline int take_place(__u64 socket, const struct address *dialled,
				      const struct frontend_key *key, const struct endpoint *to)
{
	__u32 number = socket % PEERS;
	struct peer *it = peers.lookup(&number);

	if (!it)
		return 0;
	if (it->socket && it->socket != socket)
		leave_for_reverse(it);
	it->socket = socket;
	it->endpoint = to->address;
	it->endpoint_port = to->port;
	it->dialled = *dialled;
	it->dialled_port = key->port;
	it->seal = seal_of_peer(it);
	return 1;
}

/* What the socket dialled when it got this endpoint; an older entry of the pair is overwritten. */
static __always_inline void remember(__u64 socket, const struct address *dialled,
				     const struct frontend_key *key, const struct endpoint *to)
{
	struct reverse_key pair = { .socket = socket, .address = to->address, .port = to->port };
	struct reverse it = { .address = *dialled, .port = key->port };

	it.wildcard = !same_address(dialled, &key->address);
	put_in_chain(&pair, &it, reverse.lookup(&pair));
}

/* The socket dialled what no Service is, maybe an endpoint that it had by way of one before. */
static __always_inline void forget(struct bpf_sock_addr *ctx, const struct address *dialled,
				   __be16 port)
{
	struct reverse_key pair = { .address = *dialled, .port = port };
	struct reverse *it;
	struct peer *place;

	pair.socket = cookie_of_socket(ctx);
	if (ctx->protocol == IPPROTO_TCP) {
		place = place_of(pair.socket);
		if (place)
			place->socket = 0;
		return;
	}
	it = reverse.lookup(&pair);
	if (it)
		it->port = 0;
}

static __always_inline int connect_to(struct bpf_sock_addr *ctx, const struct address *dialled,
				      struct endpoint *to, int hook)
{
	struct frontend_key key = { .address = *dialled, .port = ctx->user_port,
				    .protocol = ctx->protocol, .scope = INSIDE };
	struct frontend f;
	struct service *service;
	__u64 socket;
	__u32 bits;

	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return PASS;
	if (is_canary(dialled, key.port))
		return record_canary(ctx, hook);
	service = find_frontend(ctx, &key, &f);
	if (!service) {
		forget(ctx, dialled, key.port);
		return PASS;
	}
	socket = cookie_of_socket(ctx);
	bits = key.protocol == IPPROTO_UDP ? bits_of(socket) : bpf_get_prandom_u32();
	if (f.count && !choose(ctx, service, &f, bits, to))
		return PASS;
	count_call(&f);
	tell(ctx, dialled, &key, to, hook);
	if (!f.count)
		return refuse();
	if (key.protocol != IPPROTO_TCP || !take_place(socket, dialled, &key, to))
		remember(socket, dialled, &key, to);
	return TRANSLATE;
}

int pw_connect4(struct bpf_sock_addr *ctx)
{
	struct address dialled = address4(ctx);
	struct endpoint to = {};
	int verdict = connect_to(ctx, &dialled, &to, BPF_CGROUP_INET4_CONNECT);

	if (verdict == TRANSLATE)
		put4(ctx, &to.address, to.port);
	return verdict != REFUSE;
}

int pw_connect6(struct bpf_sock_addr *ctx)
{
	struct address dialled = address6(ctx);
	struct endpoint to = {};
	int verdict = connect_to(ctx, &dialled, &to, BPF_CGROUP_INET6_CONNECT);

	if (verdict == TRANSLATE)
		put6(ctx, &to.address, to.port);
	return verdict != REFUSE;
}

/* By `reverse`: what the socket dialled when it got this endpoint; 0: it did not. */
static __always_inline int dialled_as(struct bpf_sock_addr *ctx, const struct address *peer,
				      struct reverse *into)
{
	struct reverse_key pair = { .address = *peer, .port = ctx->user_port };
	struct reverse *it;

	pair.socket = cookie_of_socket(ctx);
	it = reverse.lookup(&pair);
	if (!it || !it->port)
		return 0;
	*into = *it;
	return 1;
}

/* What stands in for the peer that the kernel knows; 0: nothing does. */
static __always_inline int name_peer(struct bpf_sock_addr *ctx, const struct address *peer,
				     struct reverse *into)
{
	struct peer *place = 0;
	struct peer it;

	if (ctx->protocol == IPPROTO_TCP)
		place = place_of(cookie_of_socket(ctx));
	else if (ctx->protocol != IPPROTO_UDP)
		return 0;
	if (!place)
		return dialled_as(ctx, peer, into);
	it = *place;
	into->address = it.dialled;
	into->port = it.dialled_port;
	return it.seal == seal_of_peer(&it) && it.socket == cookie_of_socket(ctx) &&
	       it.endpoint_port == (__be16)ctx->user_port && same_address(&it.endpoint, peer);
}

int pw_getpeername4(struct bpf_sock_addr *ctx)
{
	struct address peer = address4(ctx);
	struct reverse dialled;

	if (name_peer(ctx, &peer, &dialled))
		put4(ctx, &dialled.address, dialled.port);
	return 1;
}

int pw_getpeername6(struct bpf_sock_addr *ctx)
{
	struct address peer = address6(ctx);
	struct reverse dialled;

	if (name_peer(ctx, &peer, &dialled))
		put6(ctx, &dialled.address, dialled.port);
	return 1;
}
