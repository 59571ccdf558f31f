/*
 * Who was sent where. Each connection is known twice, by the packets of either way:
 *
 *     REQUEST   client -> what it dialled    the endpoint
 *     REPLY     endpoint -> client           what the client dialled
 *
 * Each half can make the other anew, and does once a second of traffic: so the kernel, which makes
 * room in a full map by what was used least, forgets both or none of a connection that lives. Only
 * the REQUEST half knows how the connection fares.
 *
 * Anybody can send packets under any address. So a connection stands in `opening` until its client
 * has shown that it hears what the endpoint says, and then moves to `connections` with both halves:
 *
 *     TCP   it acknowledges the number of the endpoint's SYN-ACK
 *     UDP   it asks again after it was answered (conntrack calls that ASSURED)
 *
 * Whoever floods us by addresses that are not its own fills `opening` alone. For the same reason a
 * client's RST is believed only if its number is near to what the endpoint acknowledged last; else a
 * client that dials again from that port meets the endpoint of before while this serves.
 *
 * A connection may be `nftables'`: its packets pass. That is what a datagram becomes that a socket
 * of this node sends under a frontend's address and port, for the answer is that socket's; and
 * what an endpoint serves this very client already, dialled elsewhere, for the endpoint could not
 * tell the two (conntrack can: it gives one of them another port).
 *
 * How long: as conntrack, which sees every connection, too, between client and endpoint.
 */
#define TCP_OPENING (120 * SECOND) /* nf_conntrack_tcp_timeout_syn_sent */
#define TCP_WINDOW (1 << 17) /* bytes that are on their way while somebody acknowledges */
#define TCP_OPEN (432000 * SECOND) /* nf_conntrack_tcp_timeout_established */
#define UDP_ASKED (30 * SECOND) /* nf_conntrack_udp_timeout */
#define UDP_ANSWERED (180 * SECOND) /* conntrack: 120, and 180 before 4.20 */

/* What is known under a key. Connections that are open pay for one lookup. */
static __always_inline struct connection *find(struct flow *key)
{
	struct connection *half = connections.lookup(key);

	if (half)
		return half;
	half = opening.lookup(key);
	if (!half)
		return 0;
	/* Or clang adds to what may be no pointer yet, which verifiers refuse. */
	asm volatile("" : "+r"(half));
	return half;
}

/* Write it where it belongs. */
static __always_inline void put(struct flow *key, struct connection *half)
{
	if (half->established)
		connections.update(key, half);
	else
		opening.update(key, half);
}

/* The other half's key. */
static __always_inline void turned(const struct flow *flow, const struct connection *half,
				   struct flow *other)
{
	bool request = flow->way == REQUEST;

	other->source = request ? half->address : flow->destination;
	other->source_port = request ? half->port : flow->destination_port;
	other->destination = request ? flow->source : half->address;
	other->destination_port = request ? flow->source_port : half->port;
	other->protocol = flow->protocol;
	other->way = !flow->way;
	other->zero = 0;
}

/* The other half as it is when it is new. */
static __always_inline void other_half(const struct flow *flow, const struct connection *half,
				       struct connection *other, __u64 now)
{
	*other = *half;
	other->address = flow->way == REQUEST ? flow->destination : flow->source;
	other->port = flow->way == REQUEST ? flow->destination_port : flow->source_port;
	other->last = now;
}

/* Nothing more will come of it, so its client may be a new one. */
static __always_inline bool is_over(const struct flow *flow, const struct connection *half,
				    __u64 now)
{
	__u64 silence = now - half->last;

	if ((__s64)silence < 0) /* another processor wrote just now */
		return false;
	if (flow->protocol == IPPROTO_UDP)
		return silence > (half->answered ? UDP_ANSWERED : UDP_ASKED);
	if (half->reset || (half->finished[REQUEST] && half->finished[REPLY]))
		return true;
	return silence > (half->established ? TCP_OPEN : TCP_OPENING);
}

/* Whether a number of TCP's is one that is waited for, or a little later. */
static __always_inline bool is_near(__be32 number, __be32 first)
{
	return bpf_ntohl(number) - bpf_ntohl(first) < TCP_WINDOW;
}

/* An endpoint's RST needs no proof: nobody outside can send one. */
static __always_inline bool is_reset(struct __sk_buff *skb, const struct packet *packet,
				     const struct connection *other)
{
	__be32 number;

	if (!(packet->flags & RST))
		return false;
	return packet->flow.way == REPLY ||
	       (!bpf_skb_load_bytes(skb, packet->transport + TCP_NUMBER, &number, 4) &&
		is_near(number, other->number));
}

/* A packet came: what it says of the connection, and that the connection lives. */
static __always_inline void note(struct __sk_buff *skb, const struct packet *packet,
				 struct connection *half, __u64 now)
{
	bool reply = packet->flow.way == REPLY;
	bool told = packet->flags & (FIN | RST) || (reply && packet->flags & SYN);
	struct connection *other, made;
	struct flow key;

	if (reply && packet->flags & ACK)
		bpf_skb_load_bytes(skb, packet->transport + TCP_ACKNOWLEDGED, &half->number, 4);
	if ((__s64)(now - half->last) < (__s64)SECOND && !told && !(reply && !half->answered))
		return;
	half->last = now;
	if (half->nftables)
		return;
	turned(&packet->flow, half, &key);
	other = find(&key);
	if (!other) {
		other_half(&packet->flow, half, &made, now);
		put(&key, &made);
		other = find(&key);
		if (!other)
			return;
	}
	other->last = now;
	if (reply)
		half->answered = other->answered = 1;
	if (reply && packet->flags & SYN)
		bpf_skb_load_bytes(skb, packet->transport + TCP_NUMBER, &other->number, 4);
	if (is_reset(skb, packet, other))
		half->reset = other->reset = 1;
	if (packet->flags & FIN)
		half->finished[reply] = other->finished[reply] = 1;
}

/* Whether a packet of the client's shows that it heard the endpoint; number: the packet's own. */
static __always_inline bool is_proved(struct __sk_buff *skb, const struct packet *packet,
				      const struct connection *half, __be32 *number)
{
	__be32 numbers[2]; /* its own, and what it acknowledges */

	*number = 0;
	if (!half->answered)
		return false;
	if (packet->flow.protocol == IPPROTO_UDP)
		return true;
	if ((packet->flags & (SYN | ACK)) != ACK ||
	    bpf_skb_load_bytes(skb, packet->transport + TCP_NUMBER, numbers, sizeof(numbers)))
		return false;
	*number = numbers[0];
	return numbers[1] != half->number && is_near(numbers[1], half->number);
}

/* Both halves move over; `made` is this one, number that of the client's packet. */
static __always_inline void establish(struct flow *flow, const struct connection *half,
				      struct connection *made, __be32 number, __u64 now)
{
	struct connection other;
	struct flow key;

	*made = *half;
	made->established = 1;
	if (!made->nftables) {
		turned(flow, made, &key);
		other_half(flow, made, &other, now);
		other.number = number;
		connections.update(&key, &other);
		connections.update(flow, made);
		opening.delete(&key);
	} else {
		connections.update(flow, made);
	}
	opening.delete(flow);
}

/* Nothing of it stays. */
static __always_inline void drop(struct flow *flow, const struct connection *half)
{
	struct flow key;

	turned(flow, half, &key);
	connections.delete(&key);
	opening.delete(&key);
	connections.delete(flow);
	opening.delete(flow);
}

/*
 * A client dials an endpoint itself, from a port that it dialled a Service from. If that is over, the
 * endpoint's answers are the endpoint's own again.
 */
static __always_inline void dialled_itself(const struct flow *flow, __u64 now)
{
	struct flow key = {
		.source_port = flow->destination_port,
		.destination_port = flow->source_port,
		.protocol = flow->protocol,
		.way = REPLY,
	}, rival;
	struct connection *reply, *first;

	key.source = flow->destination;
	key.destination = flow->source;
	reply = find(&key);
	if (!reply)
		return;
	turned(&key, reply, &rival);
	first = find(&rival);
	if (!first || is_over(&rival, first, now))
		drop(&key, reply);
}
