/*
 * Reading what stands in `frontends` and `endpoints`, whole and its own: see the seals of maps.c.
 *
 *     service = read_frontend(&key, &frontend)                    none: 0
 *     read_endpoint(service, frontend.list, slot, &endpoint)      none: 0
 *
 * What is being changed at the moment is read again; what then still does not fit counts as not
 * there, and its packets meet nftables. (The first endpoints of a frontend are not read again: they
 * come and go with it.)
 */
#define SECOND 1000000000ULL /* of nanoseconds */

static __always_inline int is_ipv4(const struct address *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline int same_address(const struct address *a, const struct address *b)
{
	return a->word[3] == b->word[3] && a->word[2] == b->word[2] && a->word[1] == b->word[1] &&
	       a->word[0] == b->word[0];
}

static __always_inline __u32 sum_address(const struct address *a)
{
	return a->word[0] + a->word[1] + a->word[2] + a->word[3];
}

/* Two halves in the order in which they stand in memory. */
static __always_inline __u32 word_of(__u16 first, __u16 second)
{
	__u16 halves[2] = { first, second };
	__u32 word;

	__builtin_memcpy(&word, halves, sizeof(word));
	return word;
}

static __always_inline __u32 sum_long(__u64 number)
{
	return (__u32)number + (__u32)(number >> 32);
}

static __always_inline __u32 seal_of_frontend(const struct frontend_key *key,
					      const struct frontend *it)
{
	__u32 last;

	__builtin_memcpy(&last, &key->port, sizeof(last));
	return sum_address(&key->address) + last + sum_long(it->list) + it->count + it->affinity +
	       word_of(it->counter, it->flags);
}

static __always_inline struct service *read_frontend(struct frontend_key *key,
						     struct frontend *into)
{
	struct service *found = frontends.lookup(key);

	if (!found)
		return 0;
	*into = found->frontend;
	if (into->seal == seal_of_frontend(key, into))
		return found;
	found = frontends.lookup(key);
	if (!found)
		return 0;
	*into = found->frontend;
	return into->seal == seal_of_frontend(key, into) ? found : 0;
}

static __always_inline __u32 seal_of_endpoint(__u64 list, __u32 slot, const struct endpoint *it)
{
	return sum_long(list) + slot + sum_address(&it->address) + word_of(it->port, it->zero);
}

static __always_inline int read_far_endpoint(__u64 list, __u32 slot, struct endpoint *into)
{
	struct endpoint_key key = { .list = list, .slot = slot };
	struct endpoint *found = endpoints.lookup(&key);

	if (!found)
		return 0;
	*into = *found;
	if (into->seal == seal_of_endpoint(list, slot, into))
		return 1;
	found = endpoints.lookup(&key);
	if (!found)
		return 0;
	*into = *found;
	return into->seal == seal_of_endpoint(list, slot, into);
}

static __always_inline int read_endpoint(struct service *service, __u64 list, __u32 slot,
					 struct endpoint *into)
{
	/* Or LLVM 19 compares one register and indexes by another, which verifiers refuse. */
	asm volatile("" : "+r"(slot));
	if (slot >= FIRST)
		return read_far_endpoint(list, slot, into);
	*into = service->first[slot];
	return into->seal == seal_of_endpoint(list, slot, into);
}

/* A slot below count, of any 32 bits: scaled, as a division would cost as much as a lookup. */
static __always_inline __u32 slot_of(__u32 bits, __u32 count)
{
	return (__u64)bits * count >> 32;
}

/* Atomic though each CPU has its own: a program may be preempted by another of the same CPU. */
static __always_inline void count_call(const struct frontend *f)
{
	__u32 number = f->counter % BLOCK, place = f->counter / BLOCK;
	struct block *it = f->counter ? counters.lookup(&place) : 0;

	if (!it)
		return;
	if (f->count)
		__sync_fetch_and_add(&it->counter[number].connections, 1);
	else
		__sync_fetch_and_add(&it->counter[number].refused, 1);
}
