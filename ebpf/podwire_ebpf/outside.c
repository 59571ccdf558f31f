/*
 * Which endpoint serves who comes from outside. It is asked once a connection:
 *
 *     find_outside   frontends of scope OUTSIDE: the address and port, then a NodePort
 *     begin          the endpoint of before, if the Service remembers; else one by chance; both
 *                    halves are written, and the first packet may go
 *
 * A connection begins in `opening`, whatever it was before. An endpoint may serve this client's
 * address and port already, dialled elsewhere. Then another one is tried, and at last the
 * connection is left to nftables.
 */
#define TRIES 4

/* What is dialled at an address and port: a Service's own, or a NodePort of this node. */
static __always_inline struct service *find_outside(struct address *address, __be16 port,
						    __u8 protocol, struct frontend *found)
{
	struct frontend_key key = { .port = port, .protocol = protocol, .scope = OUTSIDE };
	struct service *service;

	key.address = *address;
	service = read_frontend(&key, found);
	if (service)
		return found->count ? service : 0;
	if (!is_ipv4(address))
		key.address.word[2] = 0;
	key.address.word[0] = key.address.word[1] = key.address.word[3] = 0;
	service = read_frontend(&key, found);
	return service && found->count && addresses.lookup(address) ? service : 0;
}

static __always_inline bool is_insider(const struct address *address)
{
	struct insider_key key = { .bits = 128 };

	key.address = *address;
	return insiders.lookup(&key) != 0;
}

static __always_inline bool serves(__u64 list, const struct address *address, __be16 port,
				      bool ready)
{
	struct member_key key = { .list = list, .port = port };
	__u32 *there;

	key.address = *address;
	there = members.lookup(&key);
	return there && (!ready || *there == 1);
}

/* ------------------------------------------------------------------------ affinity */

static __always_inline void affinity_of(const struct address *client, __u64 list,
					struct affinity_key *key)
{
	key->client = *client;
	key->list = list;
	key->scope = OUTSIDE;
	key->zero = 0;
}

/* Where the client went before, if that is an endpoint still. */
static __always_inline bool returns(const struct address *client, const struct frontend *frontend,
				    struct connection *half, __u64 now)
{
	struct affinity_key key;
	struct affinity *before;

	affinity_of(client, frontend->list, &key);
	before = affinity.lookup(&key);
	/* Signed: another processor may have written a moment after `now`. */
	if (!before || (__s64)(now - before->last) > (__s64)(frontend->affinity * SECOND))
		return false;
	half->address = before->address;
	half->port = before->port;
	return serves(frontend->list, &half->address, half->port, true);
}

static __always_inline void remember(const struct address *client, const struct frontend *frontend,
				     const struct connection *half, __u64 now)
{
	struct affinity_key key;
	struct affinity went = { .port = half->port, .last = now };

	affinity_of(client, frontend->list, &key);
	went.address = half->address;
	affinity.update(&key, &went);
}

/* --------------------------------------------------------------------- new connections */

/* Write the half that replies go by; false where they would be taken for another connection's. */
static __always_inline bool take(const struct flow *flow, struct connection *half, __u64 now)
{
	struct connection made, *other, *first;
	struct flow key, rival;

	turned(flow, half, &key);
	other_half(flow, half, &made, now);
	other = connections.lookup(&key);
	if (!other && !opening.insert(&key, &made))
		return true;
	other = find(&key);
	if (other && (other->port != made.port || !same_address(&other->address, &made.address))) {
		turned(&key, other, &rival);
		first = find(&rival);
		if (first && !first->nftables && !is_over(&rival, first, now) &&
		    first->port == half->port && same_address(&first->address, &half->address))
			return false;
	}
	opening.update(&key, &made);
	connections.delete(&key);
	return true;
}

/* The half whose endpoint was another, or went: what still comes from there is nobody's. */
static __always_inline void forget(const struct flow *flow, const struct connection *half,
				   const struct connection *before)
{
	struct flow key;

	if (half->port == before->port && same_address(&half->address, &before->address))
		return;
	turned(flow, before, &key);
	connections.delete(&key);
	opening.delete(&key);
}

static __always_inline bool pick(const struct flow *flow, struct service *service,
				 const struct frontend *frontend, struct connection *half,
				 __u64 now)
{
	struct endpoint endpoint;

	if (frontend->affinity && returns(&flow->source, frontend, half, now) &&
	    take(flow, half, now))
		return true;
#pragma unroll
	for (int i = 0; i < TRIES; i++) {
		__u32 slot = slot_of(bpf_get_prandom_u32(), frontend->count);

		if (!read_endpoint(service, frontend->list, slot, &endpoint))
			continue;
		half->address = endpoint.address;
		half->port = endpoint.port;
		if (take(flow, half, now))
			return true;
	}
	half->nftables = 1;
	return false;
}

/* A connection that is new, or to be chosen anew: `before`, if any. False: it is not ours. */
static __always_inline bool begin(struct flow *flow, const struct connection *before,
				  struct connection *half, __u64 now)
{
	bool was_established = before && before->established;
	struct frontend frontend;
	struct service *service;

	service = find_outside(&flow->destination, flow->destination_port, flow->protocol,
			       &frontend);
	if (!service || (frontend.flags & BY_SOURCE && is_insider(&flow->source))) {
		/* Or what follows would go to the endpoint of before. */
		if (before)
			drop(flow, before);
		else
			dialled_itself(flow, now);
		return false;
	}
	__builtin_memset(half, 0, sizeof(*half));
	half->list = frontend.list;
	half->masquerade = frontend.flags & MASQUERADE;
	half->last = now;
	if (pick(flow, service, &frontend, half, now)) {
		if (before && !before->nftables)
			forget(flow, half, before);
		if (frontend.affinity)
			remember(&flow->source, &frontend, half, now);
		count_call(&frontend);
	}
	opening.update(flow, half);
	if (was_established)
		connections.delete(flow);
	return !half->nftables;
}
