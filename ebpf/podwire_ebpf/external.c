/*
 * What comes from outside for a Service, at the links that lead there (clsact).
 *
 *     client ──► uplink ─ outside_in: destination becomes the endpoint's ──► stack ──► endpoint
 *     client ◄── uplink ◄─ outside_out: source becomes what was dialled ◄── stack ◄── endpoint
 *
 * 1. Whatever is not found, or doubted, passes as it came, and nftables serves it. So does a TCP
 *    packet that opens nothing and belongs to nothing.
 * 2. The stack sees a client that dials an endpoint: routing, policies and conntrack know no
 *    Service. Where the endpoint must answer by way of this node, the packet is marked, and
 *    nftables masquerades what carries the mark: a BPF program has no ports to give.
 * 3. An open TCP connection goes on to its endpoint, whether that serves others or not, as it
 *    would by conntrack. A UDP conversation whose endpoint went is sent to another one.
 * 4. TC_ACT_UNSPEC: the filters of others have their say, too. Only a packet that the kernel lets us
 *    change by half is dropped, to be sent again.
 */
#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2
#define PACKET_HOST 0
#define MASQUERADE_MARK 0x10000000
#define TRANSLATED_MARK 0x8000000

/* Whether a client's packet goes where the others of its connection went. */
static __always_inline bool goes_on(const struct packet *packet, const struct connection *half,
				    __u64 now)
{
	if (packet->flow.protocol == IPPROTO_TCP && (packet->flags & (SYN | ACK)) != SYN)
		return true;
	if (is_over(&packet->flow, half, now))
		return false;
	return half->nftables || serves(half->list, &half->address, half->port, false);
}

static __always_inline bool is_icmp(const struct packet *packet)
{
	return packet->flow.protocol == IPPROTO_ICMP || packet->flow.protocol == NEXT_ICMPV6;
}

/* Whether an endpoint's packet answers. One that opens something does not, or begins anew. */
static __always_inline bool answers(const struct packet *packet, const struct connection *half,
				    __u64 now)
{
	if (packet->flow.protocol == IPPROTO_TCP)
		return (packet->flags & (SYN | ACK)) != SYN;
	return !is_over(&packet->flow, half, now);
}

static __always_inline int request(struct __sk_buff *skb, struct packet *packet)
{
	struct flow *flow = &packet->flow;
	struct connection *half = find(flow), made;
	__u64 now = bpf_ktime_get_ns();
	bool opens = flow->protocol == IPPROTO_UDP || (packet->flags & (SYN | ACK)) == SYN;
	struct address to;
	__be32 number;

	if (half && goes_on(packet, half, now)) {
		note(skb, packet, half, now);
		if (!half->established && is_proved(skb, packet, half, &number)) {
			establish(flow, half, &made, number, now);
			half = &made;
		}
	} else if (opens && !packet->later && begin(flow, half, &made, now)) {
		half = &made;
	} else {
		return TC_ACT_UNSPEC;
	}
	if (half->nftables)
		return TC_ACT_UNSPEC;
	/* NAT asks about a connection's first packet alone, which may be sent again. */
	if (opens)
		skb->mark |= TRANSLATED_MARK;
	if (opens && (half->masquerade || same_address(&flow->source, &half->address)))
		skb->mark |= MASQUERADE_MARK;
	to = half->address;
	if (set_port(skb, packet, true, flow->destination_port, half->port) &&
	    set_address(skb, packet, true, &flow->destination, &to))
		return TC_ACT_UNSPEC;
	return TC_ACT_SHOT;
}

/* A datagram of a socket of this node, or one that nftables translated: so is its answer. */
static __always_inline void leave_to_nftables(struct packet *packet, __u64 now)
{
	struct connection left = { .nftables = 1, .answered = 1, .last = now }, *known;
	struct flow *flow = &packet->flow, key;
	struct frontend frontend;

	if (!find_outside(&flow->source, flow->source_port, IPPROTO_UDP, &frontend))
		return;
	key.source = flow->destination;
	key.source_port = flow->destination_port;
	key.destination = flow->source;
	key.destination_port = flow->source_port;
	key.protocol = IPPROTO_UDP;
	key.way = REQUEST;
	key.zero = 0;
	known = find(&key);
	if (known && known->nftables) {
		known->answered = 1;
		known->last = now;
		return;
	}
	left.established = known && known->established;
	put(&key, &left);
}

static __always_inline int reply(struct __sk_buff *skb, struct packet *packet)
{
	struct flow *flow = &packet->flow;
	struct connection *half = find(flow);
	__u64 now = bpf_ktime_get_ns();
	struct address to;

	if (!half || !answers(packet, half, now)) {
		if (flow->protocol == IPPROTO_UDP && !packet->later)
			leave_to_nftables(packet, now);
		return TC_ACT_UNSPEC;
	}
	note(skb, packet, half, now);
	to = half->address;
	if (set_port(skb, packet, false, flow->source_port, half->port) &&
	    set_address(skb, packet, false, &flow->source, &to))
		return TC_ACT_UNSPEC;
	return TC_ACT_SHOT;
}

static __always_inline int handle(struct __sk_buff *skb, __u32 network, enum way way)
{
	bool ipv6 = skb->protocol == bpf_htons(PROTOCOL_IPV6);
	struct packet packet;

	/* A VLAN's packet comes by once more, on its own link. */
	if ((!ipv6 && skb->protocol != bpf_htons(PROTOCOL_IPV4)) || skb->vlan_present)
		return TC_ACT_UNSPEC;
	if (way == REQUEST && skb->pkt_type != PACKET_HOST)
		return TC_ACT_UNSPEC;
	packet.flow.way = way;
	packet.network = network;
	if (!read_packet(skb, &packet, ipv6))
		return TC_ACT_UNSPEC;
	if (!is_icmp(&packet))
		return way == REQUEST ? request(skb, &packet) : reply(skb, &packet);
	translate_error(skb, &packet);
	return TC_ACT_UNSPEC;
}

int pw_outside_in(struct __sk_buff *skb)
{
	return handle(skb, ETHERNET, REQUEST);
}

int pw_outside_out(struct __sk_buff *skb)
{
	return handle(skb, ETHERNET, REPLY);
}

int pw_bare_in(struct __sk_buff *skb)
{
	return handle(skb, 0, REQUEST);
}

int pw_bare_out(struct __sk_buff *skb)
{
	return handle(skb, 0, REPLY);
}
