/*
 * Datagrams of sockets that did not connect(): each is translated on its own, and so is each answer.
 *
 *     sendmsg()   10.96.0.10:53  ->  10.244.1.5:5353      the endpoint of before, while it serves
 *     recvmsg()   10.244.1.5:5353  ->  10.96.0.10:53      by reverse, while the Service is there
 *
 * A socket stays with its endpoint whatever else comes or goes, as it would by conntrack. It may
 * reach one endpoint by way of several Services: an answer shows what it dialled last.
 *
 * A socket that did connect() hears its peer alone. What it sends there by name goes there, too:
 *
 *     the peer itself                             untouched
 *     what it dialled when it got this peer       to the peer
 */

/* The peer of a connected socket; port 0: it has none. */
static __always_inline void peer_of(struct bpf_sock_addr *ctx, int hook, struct endpoint *into)
{
	struct bpf_sock *sk = ctx->sk;

	into->port = sk ? sk->dst_port : 0;
	if (!into->port)
		return;
	if (hook == BPF_CGROUP_UDP4_SENDMSG) {
		into->address.word[0] = into->address.word[1] = 0;
		into->address.word[2] = bpf_htonl(0xffff);
		into->address.word[3] = sk->dst_ip4;
	} else {
		into->address.word[0] = sk->dst_ip6[0];
		into->address.word[1] = sk->dst_ip6[1];
		into->address.word[2] = sk->dst_ip6[2];
		into->address.word[3] = sk->dst_ip6[3];
	}
}

static __always_inline int is_at(const struct endpoint *it, const struct address *address,
				 __be16 port)
{
	return it->port == port && same_address(&it->address, address);
}

/* Whether connect() made this peer of what is dialled now. */
static __always_inline int is_peers_name(__u64 socket, const struct endpoint *peer,
					 const struct address *dialled, __be16 port)
{
	struct reverse_key pair = { .socket = socket, .address = peer->address,
				    .port = peer->port };
	struct reverse *it = peer->port ? reverse.lookup(&pair) : 0;

	return it && it->port == port && same_address(&it->address, dialled);
}

/*
 * Where the socket sent such datagrams before, if that serves still; 0: nowhere. What was read may be
 * another's, or half of it (see the seals of maps.c): `members` knows no such endpoint of the list.
 */
static __always_inline int stays(__u64 socket, const struct address *dialled, __be16 port,
				 __u64 list, struct endpoint *into)
{
	struct reverse_key key = { .socket = socket, .address = *dialled, .port = port,
				   .forward = 1 };
	struct reverse *it = reverse.lookup(&key);

	if (!it)
		return 0;
	into->address = it->address;
	into->port = it->port;
	return membership(list, into) != 0;
}

/* Answers of the endpoint are shown as what was dialled. Most datagrams find that it is so. */
static __always_inline void name_answers(__u64 socket, const struct address *dialled,
					 const struct frontend_key *key, const struct endpoint *to)
{
	struct reverse_key pair = { .socket = socket, .address = to->address, .port = to->port };
	struct reverse it = { .address = *dialled, .port = key->port };
	struct reverse *before = reverse.lookup(&pair);

	it.wildcard = !same_address(dialled, &key->address);
	if (before && before->port == it.port && before->wildcard == it.wildcard &&
	    same_address(&before->address, dialled))
		return;
	put_in_chain(&pair, &it, before);
}

static __always_inline void stay(__u64 socket, const struct address *dialled, __be16 port,
				 const struct endpoint *to)
{
	struct reverse_key key = { .socket = socket, .address = *dialled, .port = port,
				   .forward = 1 };
	struct reverse it = { .address = to->address, .port = to->port };

	put_in_chain(&key, &it, reverse.lookup(&key));
}

static __always_inline int send_to(struct bpf_sock_addr *ctx, const struct address *dialled,
				   struct endpoint *to, int hook)
{
	struct frontend_key key = { .address = *dialled, .port = ctx->user_port,
				    .protocol = ctx->protocol, .scope = INSIDE };
	struct frontend f;
	struct service *service;
	struct endpoint peer = {};
	__u64 socket;

	if (ctx->protocol != IPPROTO_UDP)
		return PASS;
	if (is_canary(dialled, key.port))
		return record_canary(ctx, hook);
	/*
	 * So each send() of a dual-stack socket comes by that is connected to ::ffff:a.b.c.d: the kernel
	 * hands it to IPv4 with an address. It may have connected before the Service was in the maps.
	 */
	peer_of(ctx, hook, &peer);
	if (peer.port && is_at(&peer, dialled, key.port))
		return PASS;
	service = find_frontend(ctx, &key, &f);
	if (!service) {
		forget(ctx, dialled, key.port);
		return PASS;
	}
	if (!f.count) {
		count_call(&f);
		tell(ctx, dialled, &key, to, hook);
		return refuse();
	}
	socket = cookie_of_socket(ctx);
	if (is_peers_name(socket, &peer, dialled, key.port)) {
		*to = peer;
		return TRANSLATE;
	}
	if (!stays(socket, dialled, key.port, f.list, to)) {
		if (!choose(ctx, service, &f, bits_of(socket), to))
			return PASS;
		stay(socket, dialled, key.port, to);
		count_call(&f);
		tell(ctx, dialled, &key, to, hook);
	}
	/* A peer's name is what connect() said. */
	if (!peer.port || !is_at(&peer, &to->address, to->port))
		name_answers(socket, dialled, &key, to);
	return TRANSLATE;
}

int pw_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct address dialled = address4(ctx);
	struct endpoint to = {};
	int verdict = send_to(ctx, &dialled, &to, BPF_CGROUP_UDP4_SENDMSG);

	if (verdict == TRANSLATE)
		put4(ctx, &to.address, to.port);
	return verdict != REFUSE;
}

int pw_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct address dialled = address6(ctx);
	struct endpoint to = {};
	int verdict = send_to(ctx, &dialled, &to, BPF_CGROUP_UDP6_SENDMSG);

	if (verdict == TRANSLATE)
		put6(ctx, &to.address, to.port);
	return verdict != REFUSE;
}

/*
 * A Service that is gone answers no more: what its endpoint, or who has the address since, sends to
 * the socket then comes from where it comes from.
 */
static __always_inline int is_served(const struct bpf_sock_addr *ctx, const struct reverse *it)
{
	struct frontend_key key = { .address = it->address, .port = it->port,
				    .protocol = IPPROTO_UDP, .scope = INSIDE };

	if (it->wildcard) {
		if (!is_ipv4(&it->address))
			key.address.word[2] = 0;
		key.address.word[0] = key.address.word[1] = key.address.word[3] = 0;
	}
	return frontends.lookup(&key) != 0;
}

int pw_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct address sender = address4(ctx);
	struct reverse dialled;

	if (ctx->protocol == IPPROTO_UDP && dialled_as(ctx, &sender, &dialled) &&
	    is_served(ctx, &dialled))
		put4(ctx, &dialled.address, dialled.port);
	return 1;
}

int pw_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct address sender = address6(ctx);
	struct reverse dialled;

	if (ctx->protocol == IPPROTO_UDP && dialled_as(ctx, &sender, &dialled) &&
	    is_served(ctx, &dialled))
		put6(ctx, &dialled.address, dialled.port);
	return 1;
}
