/*
 * ICMP errors. They are about a packet that its sender knows under other addresses, so the packet
 * inside is translated as well; its checksum is not, as nobody asks for it:
 *
 *                 packet inside           outside
 *     REQUEST     source: the endpoint    destination: the endpoint
 *     REPLY       destination: dialled    source: dialled, where the endpoint itself complains
 */
static __always_inline bool is_error(const struct packet *packet, __u8 type)
{
	if (packet->flow.protocol == NEXT_ICMPV6)
		return type >= 1 && type <= 4;
	return type == 3 || type == 11 || type == 12;
}

/* The packet inside, and the connection it belongs to, as its own receiver would look it up. */
static __always_inline struct connection *read_inner(struct __sk_buff *skb,
						     const struct packet *outer,
						     struct packet *inner)
{
	struct flow key;
	__u8 type;

	if (bpf_skb_load_bytes(skb, outer->transport, &type, 1) || !is_error(outer, type))
		return 0;
	__builtin_memset(inner, 0, sizeof(*inner));
	inner->network = outer->transport + 8;
	if (!(outer->ipv6 ? read_ipv6(skb, inner) : read_ipv4(skb, inner)) || inner->later)
		return 0;
	if (inner->flow.protocol != IPPROTO_TCP && inner->flow.protocol != IPPROTO_UDP)
		return 0;
	if (bpf_skb_load_bytes(skb, inner->transport, &inner->flow.source_port, 4))
		return 0;
	key.source = inner->flow.destination;
	key.source_port = inner->flow.destination_port;
	key.destination = inner->flow.source;
	key.destination_port = inner->flow.source_port;
	key.protocol = inner->flow.protocol;
	key.way = outer->flow.way;
	key.zero = 0;
	return find(&key);
}

static __always_inline void set_inner_address(struct __sk_buff *skb, const struct packet *outer,
					      const struct packet *inner, bool destination,
					      struct address *old, struct address *new)
{
	__s64 difference = bpf_csum_diff(old->word, sizeof(*old), new->word, sizeof(*new), 0);
	__u32 at = inner->network;

	if (inner->ipv6) {
		at += destination ? IPV6_DESTINATION : IPV6_SOURCE;
		bpf_l4_csum_replace(skb, sum_at(outer), 0, difference, 0);
		bpf_skb_store_bytes(skb, at, new->word, sizeof(*new), 0);
		return;
	}
	/* IPv4's own sum balances the address, so that ICMP's stays what it is. */
	bpf_l3_csum_replace(skb, at + IPV4_SUM, 0, difference, 0);
	at += destination ? IPV4_DESTINATION : IPV4_SOURCE;
	bpf_skb_store_bytes(skb, at, &new->word[3], 4, 0);
}

static __always_inline void translate_error(struct __sk_buff *skb, struct packet *outer)
{
	bool reply = outer->flow.way == REPLY;
	struct connection *half;
	struct address old, new;
	struct packet inner;
	__be16 old_port, new_port;
	__u32 at;

	half = read_inner(skb, outer, &inner);
	if (!half || half->nftables)
		return;
	new = half->address;
	new_port = half->port;
	old = reply ? inner.flow.destination : inner.flow.source;
	old_port = reply ? inner.flow.destination_port : inner.flow.source_port;
	set_inner_address(skb, outer, &inner, reply, &old, &new);
	at = inner.transport + (reply ? 2 : 0);
	bpf_l4_csum_replace(skb, sum_at(outer), old_port, new_port, 2);
	bpf_skb_store_bytes(skb, at, &new_port, sizeof(new_port), 0);
	if (same_address(reply ? &outer->flow.source : &outer->flow.destination, &old))
		set_address(skb, outer, !reply, &old, &new);
}
