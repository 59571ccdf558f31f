/*
 * What `reverse` knows of a UDP socket is a chain, newest first: so all of it goes when it closes,
 * whatever the socket is connected to by then. A conversation of one that did not connect() has two
 * entries, one for each way; connect() adds one.
 *
 *     (socket, none) -> (socket, endpoint c)                                connect()
 *                    -> (socket, forward, dialled b) -> (socket, endpoint b)
 *                    -> (socket, forward, dialled a) -> (socket, endpoint a)
 */
#define LONGEST_CHAIN 64

/* Write an entry. One that is new becomes the chain's first. */
static __always_inline void put_in_chain(struct reverse_key *key, struct reverse *it,
					 struct reverse *before)
{
	struct reverse_key none = { .socket = key->socket };
	struct reverse head = { .next_address = key->address, .next_port = key->port,
				.next_forward = key->forward };
	struct reverse *next = before ? before : reverse.lookup(&none);

	if (next) {
		it->next_address = next->next_address;
		it->next_port = next->next_port;
		it->next_forward = next->next_forward;
	}
	if (!before)
		reverse.update(&none, &head);
	reverse.update(key, it);
}

static __always_inline void drop_chain(__u64 socket)
{
	struct reverse_key pair = { .socket = socket };

	/* Unrolled it would be thousands of instructions; loops that end are verified since 5.3. */
	for (int length = 0; length <= LONGEST_CHAIN; length++) {
		struct reverse_key next = { .socket = socket };
		struct reverse *it = reverse.lookup(&pair);

		if (!it)
			return;
		next.address = it->next_address;
		next.port = it->next_port;
		next.forward = it->next_forward;
		reverse.delete(&pair);
		if (!next.port)
			return;
		pair = next;
	}
}
