/*
 * From what a socket dials to an endpoint. Nothing here knows a hook: connect.c and datagram.c do.
 *
 *     find_frontend   frontends: the address and port, then a NodePort at one of our addresses
 *     choose          the endpoint of before, if the Service remembers; else the slot asked for
 *
 * What is not found, or cannot be trusted, passes: the packets then meet nftables, which knows
 * every Service. Both families are one: see struct address.
 */
enum verdict { PASS, REFUSE, TRANSLATE };

/* bcc's own declaration gives half of the cookie. */
static __u64 (*cookie_of_socket)(void *ctx) = (void *)BPF_FUNC_get_socket_cookie;

static __always_inline int is_unspecified(const struct address *a)
{
	return a->word[3] == 0 && a->word[1] == 0 && a->word[0] == 0 &&
	       (a->word[2] == 0 || a->word[2] == bpf_htonl(0xffff));
}

static __always_inline int is_loopback(const struct address *a)
{
	if (is_ipv4(a))
		return (a->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0 && a->word[3] == bpf_htonl(1);
}

static __always_inline __u32 flags_in_force(void)
{
	__u32 zero = 0;
	struct settings *it = settings.lookup(&zero);

	return it ? it->flags : 0;
}

/*
 * NodePorts answer at 127.0.0.1 and ::1 to sockets of the node itself. One that is bound to such an
 * address could not reach an endpoint from there; nftables gives its packets another source.
 */
static __always_inline int serves_localhost(struct bpf_sock_addr *ctx, const struct address *a)
{
	__u32 zero = 0;
	struct settings *it = settings.lookup(&zero);
	struct bpf_sock *sk = ctx->sk;

	if (!it || !(it->flags & LOCALHOST) || it->node != bpf_get_netns_cookie(ctx) || !sk)
		return 0;
	if (is_ipv4(a))
		return (sk->src_ip4 & bpf_htonl(0xff000000)) != bpf_htonl(0x7f000000);
	return sk->src_ip6[3] != bpf_htonl(1) || sk->src_ip6[2] || sk->src_ip6[1] || sk->src_ip6[0];
}

/* The frontend of what was dialled; `key` becomes that of the NodePort where it is one. */
static __always_inline struct service *find_frontend(struct bpf_sock_addr *ctx,
						     struct frontend_key *key,
						     struct frontend *into)
{
	struct address dialled = key->address;
	struct service *found;

	/* Who dials 0.0.0.0 or :: means this machine, and must not find a NodePort's own key. */
	if (is_unspecified(&dialled))
		return 0;
	found = read_frontend(key, into);
	if (found)
		return found;
	if (!is_ipv4(&dialled))
		key->address.word[2] = 0;
	key->address.word[0] = key->address.word[1] = key->address.word[3] = 0;
	found = read_frontend(key, into);
	if (!found)
		return 0;
	if (is_loopback(&dialled))
		return serves_localhost(ctx, &dialled) ? found : 0;
	return addresses.lookup(&dialled) ? found : 0;
}

/* Whether it is an endpoint of the list: 1, ready; 2, it serves who it served before; 0, no more. */
static __always_inline __u32 membership(__u64 list, const struct endpoint *it)
{
	struct member_key key = { .list = list, .address = it->address, .port = it->port };
	__u32 *there = members.lookup(&key);

	return there ? *there : 0;
}

/*
 * UDP's 32 bits for a slot: one socket has one slot, by connect() and without. Cookies are numbers
 * in a row: multiplied by the golden ratio they are spread evenly.
 */
static __always_inline __u32 bits_of(__u64 socket)
{
	return socket * 0x9e3779b97f4a7c15ULL >> 32;
}

/*
 * A client is a network namespace, which is a pod: sockets have no address yet when they dial. Two
 * processors may choose for one client at the same moment; the later one is remembered. One may
 * have written after the other took the time: then `last` is in the future, by a little.
 */
static __always_inline int choose_remembered(struct bpf_sock_addr *ctx, struct service *service,
					     const struct frontend *f, __u32 bits,
					     struct endpoint *into)
{
	struct affinity_key key = { .list = f->list, .scope = INSIDE };
	struct affinity it = {};
	struct affinity *before;
	__u64 cookie = bpf_get_netns_cookie(ctx), now = bpf_ktime_get_ns();
	__s64 age;

	__builtin_memcpy(&key.client, &cookie, sizeof(cookie));
	before = affinity.lookup(&key);
	age = before ? now - before->last : 0;
	if (before && age <= (__s64)(f->affinity * SECOND)) {
		into->address = before->address;
		into->port = before->port;
		if (membership(f->list, into) == 1) {
			if (age > 0)
				before->last = now;
			return 1;
		}
	}
	if (!read_endpoint(service, f->list, slot_of(bits, f->count), into))
		return 0;
	it.address = into->address;
	it.port = into->port;
	it.last = now;
	affinity.update(&key, &it);
	return 1;
}

static __always_inline int choose(struct bpf_sock_addr *ctx, struct service *service,
				  const struct frontend *f, __u32 bits, struct endpoint *into)
{
	if (f->affinity)
		return choose_remembered(ctx, service, f, bits, into);
	return read_endpoint(service, f->list, slot_of(bits, f->count), into);
}
