/*
 * A socket closes: its place in `peers` is free, and its entries of `reverse` go, those of its chain
 * and that of its peer.
 *
 * The kernel runs this for sockets of programs alone, not for its own (Linux 5.9): theirs, of NFS
 * for instance, keep their places. What else is missed is overwritten when `reverse` is full.
 */
/* Whether that was all that there is of a TCP socket; most have nothing, and cost one lookup. */
static __always_inline int leave_place(__u64 socket)
{
	__u32 number = socket % PEERS;
	struct peer *it = peers.lookup(&number);

	if (!it)
		return 0;
	if (it->socket == socket) {
		__builtin_memset(it, 0, __builtin_offsetof(struct peer, crowded));
		return 1;
	}
	return !it->crowded;
}

int pw_sock_release(struct bpf_sock *sk)
{
	struct reverse_key pair = {};
	__u32 ip4 = sk->dst_ip4;

	/* Else the compiler reads the context by a computed offset, which verifiers refuse. */
	asm volatile("" : "+r"(ip4));
	if (sk->protocol != IPPROTO_TCP && sk->protocol != IPPROTO_UDP)
		return 1;
	pair.socket = cookie_of_socket(sk);
	if (sk->protocol == IPPROTO_TCP && leave_place(pair.socket))
		return 1;
	pair.port = sk->dst_port;
	if (sk->family == 2 /* AF_INET */) {
		pair.address.word[2] = bpf_htonl(0xffff);
		pair.address.word[3] = ip4;
	} else {
		pair.address.word[0] = sk->dst_ip6[0];
		pair.address.word[1] = sk->dst_ip6[1];
		pair.address.word[2] = sk->dst_ip6[2];
		pair.address.word[3] = sk->dst_ip6[3];
	}
	if (sk->protocol == IPPROTO_UDP)
		drop_chain(pair.socket);
	/* TCP's have no chain, and of a full map the head may be gone. */
	if (pair.port)
		reverse.delete(&pair);
	return 1;
}
