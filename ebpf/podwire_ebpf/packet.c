/*
 * A packet on the uplink: who sends it to whom, and its headers with other addresses in them.
 *
 *     link       0 or 14 bytes   none (WireGuard, tun), or Ethernet's
 *     network    20 to 60, 40    IPv4 with its options, IPv6
 *     fragment   8               IPv6 alone
 *     transport                  TCP, UDP, ICMP; of a fragment that is not the first, nothing
 *
 * Whatever else there is, IPv6's other extension headers above all, is not read: nftables has it.
 * A datagram's first fragment has the ports and comes first, so it tells them to the others.
 *
 * Checksums are changed by what changes and never made anew, as most packets have none yet: their
 * card is to fill it in. The kernel is told of an address by BPF_F_PSEUDO_HDR. What a card has
 * added up (CHECKSUM_COMPLETE) then holds for IPv4, where the header's own sum balances the
 * address; IPv6 has no such sum, so there the address itself is stored with BPF_F_RECOMPUTE_CSUM.
 */
#define ETHERNET 14
#define PROTOCOL_IPV4 0x0800 /* linux/if_ether.h */
#define PROTOCOL_IPV6 0x86dd
#define NEXT_FRAGMENT 44 /* RFC 8200, 4.5 */
#define NEXT_ICMPV6 58

enum { false = 0, true = 1 };
enum tcp_flag { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

struct packet {
	struct flow flow;
	__u32 network; /* where the headers begin */
	__u32 transport;
	__u32 id; /* of a datagram in fragments */
	__u8 ipv6;
	__u8 first; /* the first of several fragments */
	__u8 later; /* one of the others, which has no transport header */
	__u8 flags; /* of TCP */
};

struct ipv4_header {
	__u8 version_length;
	__u8 service;
	__be16 length;
	__be16 id;
	__be16 fragment; /* three bits, and where it begins in units of eight bytes */
	__u8 ttl;
	__u8 protocol;
	__be16 sum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_class_label;
	__be16 length;
	__u8 next;
	__u8 hops;
	struct address source;
	struct address destination;
};

struct fragment_header {
	__u8 next;
	__u8 zero;
	__be16 fragment;
	__be32 id;
};

#define IPV4_SUM 10
#define IPV4_SOURCE 12
#define IPV4_DESTINATION 16
#define IPV6_SOURCE 8
#define IPV6_DESTINATION 24
#define TCP_NUMBER 4
#define TCP_ACKNOWLEDGED 8
#define TCP_FLAGS 13
#define TCP_SUM 16
#define UDP_SUM 6
#define ICMP_SUM 2

static __always_inline void mapped(struct address *address, __be32 ipv4)
{
	address->word[0] = 0;
	address->word[1] = 0;
	address->word[2] = bpf_htonl(0xffff);
	address->word[3] = ipv4;
}

static __always_inline bool read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv4_header header;

	if (bpf_skb_load_bytes(skb, packet->network, &header, sizeof(header)))
		return false;
	if (header.version_length >> 4 != 4 || (header.version_length & 15) < 5)
		return false;
	packet->ipv6 = 0;
	packet->transport = packet->network + (header.version_length & 15) * 4;
	packet->id = header.id;
	packet->later = (header.fragment & bpf_htons(0x1fff)) != 0;
	packet->first = !packet->later && (header.fragment & bpf_htons(0x2000));
	packet->flow.protocol = header.protocol;
	mapped(&packet->flow.source, header.source);
	mapped(&packet->flow.destination, header.destination);
	return true;
}

static __always_inline bool read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6_header header;
	struct fragment_header part;

	if (bpf_skb_load_bytes(skb, packet->network, &header, sizeof(header)))
		return false;
	packet->ipv6 = 1;
	packet->transport = packet->network + sizeof(header);
	packet->id = 0;
	packet->first = packet->later = 0;
	packet->flow.protocol = header.next;
	packet->flow.source = header.source;
	packet->flow.destination = header.destination;
	if (header.next != NEXT_FRAGMENT)
		return true;
	if (bpf_skb_load_bytes(skb, packet->transport, &part, sizeof(part)))
		return false;
	packet->transport += sizeof(part);
	packet->id = part.id;
	packet->later = (part.fragment & bpf_htons(0xfff8)) != 0;
	packet->first = !packet->later && (part.fragment & bpf_htons(1));
	packet->flow.protocol = part.next;
	return true;
}

/* Ports, of a later fragment those that the first one told. */
static __always_inline bool read_ports(struct __sk_buff *skb, struct packet *packet)
{
	struct fragment_key key;
	struct ports ports, *told;

	if (packet->first || packet->later) {
		key.source = packet->flow.source;
		key.destination = packet->flow.destination;
		key.id = packet->id;
		key.protocol = packet->flow.protocol;
		key.way = packet->flow.way;
		key.zero = 0;
	}
	if (packet->later) {
		told = fragments.lookup(&key);
		if (!told)
			return false;
		ports = *told;
	} else if (bpf_skb_load_bytes(skb, packet->transport, &ports, sizeof(ports))) {
		return false;
	}
	if (packet->first)
		fragments.update(&key, &ports);
	packet->flow.source_port = ports.source;
	packet->flow.destination_port = ports.destination;
	return true;
}

/* Whose packet is it? way and network are set. Of what is neither TCP nor UDP, no ports. */
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet, bool ipv6)
{
	packet->flow.source_port = packet->flow.destination_port = 0;
	packet->flow.zero = 0;
	packet->flags = 0;
	if (!(ipv6 ? read_ipv6(skb, packet) : read_ipv4(skb, packet)))
		return false;
	switch (packet->flow.protocol) {
	case IPPROTO_UDP:
		return read_ports(skb, packet);
	case IPPROTO_TCP:
		if (!packet->later &&
		    bpf_skb_load_bytes(skb, packet->transport + TCP_FLAGS, &packet->flags, 1))
			return false;
		return read_ports(skb, packet);
	case IPPROTO_ICMP:
		return !ipv6 && !packet->first && !packet->later;
	case NEXT_ICMPV6:
		return ipv6 && !packet->first && !packet->later;
	}
	return false;
}

static __always_inline __u32 sum_at(const struct packet *packet)
{
	switch (packet->flow.protocol) {
	case IPPROTO_TCP:
		return packet->transport + TCP_SUM;
	case IPPROTO_UDP:
		return packet->transport + UDP_SUM;
	}
	return packet->transport + ICMP_SUM;
}

/* A datagram of UDP over IPv4 without a checksum stays one, and none becomes one. */
static __always_inline __u64 sum_flags(const struct packet *packet)
{
	return packet->flow.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* The header's source or destination becomes another. */
static __always_inline bool set_address(struct __sk_buff *skb, const struct packet *packet,
					bool destination, struct address *old,
					struct address *new)
{
	__s64 difference = bpf_csum_diff(old->word, sizeof(*old), new->word, sizeof(*new), 0);
	__u64 flags = BPF_F_PSEUDO_HDR | sum_flags(packet);
	__u32 at = packet->network;

	/* ICMP's checksum knows nothing of addresses, ICMPv6's does (RFC 4443, 2.3). */
	if (!packet->later && packet->flow.protocol != IPPROTO_ICMP &&
	    bpf_l4_csum_replace(skb, sum_at(packet), 0, difference, flags))
		return false;
	if (packet->ipv6) {
		at += destination ? IPV6_DESTINATION : IPV6_SOURCE;
		return !bpf_skb_store_bytes(skb, at, new->word, sizeof(*new), BPF_F_RECOMPUTE_CSUM);
	}
	if (bpf_l3_csum_replace(skb, at + IPV4_SUM, 0, difference, 0))
		return false;
	at += destination ? IPV4_DESTINATION : IPV4_SOURCE;
	return !bpf_skb_store_bytes(skb, at, &new->word[3], 4, 0);
}

static __always_inline bool set_port(struct __sk_buff *skb, const struct packet *packet,
				     bool destination, __be16 old, __be16 new)
{
	__u32 at = packet->transport + (destination ? 2 : 0);

	if (packet->later || old == new)
		return true;
	return !bpf_l4_csum_replace(skb, sum_at(packet), old, new, 2 | sum_flags(packet)) &&
	       !bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
}
