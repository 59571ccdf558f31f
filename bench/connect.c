/*
 * How long connect() takes, in nanoseconds, towards several networks in turn.
 *
 *     connect serve PORT              accepts and closes, until it is killed
 *     connect dial ROUNDS TURNS       dials; each network is a line of standard input:
 *                                     NAME /run/netns/… ADDRESS:PORT ADDRESS:PORT …
 *
 * A round is one batch of connections for each network, in turns of 25 so that what else the
 * machine does falls on all of them. For every batch one line is printed: NAME P50 P90 P99.
 *
 * The socket is bound before the clock starts, so that the search for a free port is not in it,
 * and closed with a reset, so that no TIME_WAIT takes the port. Source ports go round.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_NETWORKS = 16, FIRST_PORT = 2048, LAST_PORT = 65000, BACKLOG = 4096, TURN = 25 };

struct network {
	char *name;
	int namespace;
	struct sockaddr_in *targets;
	size_t count;
};

static void die(const char *what)
{
	fprintf(stderr, "connect: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* One processor for who dials, another one for who accepts, where there are two. */
static void pin(int processor)
{
	cpu_set_t set;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof(set), &set); /* where it is forbidden, the figures are noisier */
}

static void serve(int port)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	pin(1);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, (struct sockaddr *)&own, sizeof(own)) || listen(listener, BACKLOG))
		die("serve");
	puts("ready");
	fflush(stdout);
	for (;;) {
		int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (peer >= 0)
			close(peer);
		else if (errno != ECONNABORTED && errno != EINTR)
			die("accept");
	}
}

static void add_target(struct network *network, char *word)
{
	char *colon = strrchr(word, ':');
	struct sockaddr_in *target;

	network->targets = realloc(network->targets, (network->count + 1) * sizeof(*target));
	if (!colon || !network->targets)
		die(word);
	*colon = '\0';
	target = &network->targets[network->count++];
	*target = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(atoi(colon + 1)) };
	if (inet_pton(AF_INET, word, &target->sin_addr) != 1)
		die(word);
}

static int read_network(struct network *network)
{
	char *line = NULL, *rest = NULL, *word;
	size_t size = 0;

	if (getline(&line, &size, stdin) < 0)
		return 0;
	network->name = strtok_r(line, " \n", &rest);
	word = strtok_r(NULL, " \n", &rest);
	network->namespace = word ? open(word, O_RDONLY | O_CLOEXEC) : -1;
	if (network->namespace < 0)
		die("a network's namespace");
	while ((word = strtok_r(NULL, " \n", &rest)))
		add_target(network, word);
	if (!network->count) {
		errno = EINVAL;
		die("a network without addresses");
	}
	return 1;
}

static long dial(const struct sockaddr_in *target)
{
	static int port = FIRST_PORT;
	struct sockaddr_in own = { .sin_family = AF_INET };
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	struct timespec before, after;
	int one = 1, connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connection < 0)
		die("socket");
	port = port < LAST_PORT ? port + 1 : FIRST_PORT;
	own.sin_port = htons(port);
	setsockopt(connection, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (bind(connection, (struct sockaddr *)&own, sizeof(own)))
		die("bind");
	clock_gettime(CLOCK_MONOTONIC, &before);
	if (connect(connection, (const struct sockaddr *)target, sizeof(*target)))
		die("connect");
	clock_gettime(CLOCK_MONOTONIC, &after);
	close(connection);
	return (after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec;
}

static int by_value(const void *left, const void *right)
{
	long a = *(const long *)left, b = *(const long *)right;

	return (a > b) - (a < b);
}

static void one_turn(const struct network *network, long *times)
{
	if (setns(network->namespace, CLONE_NEWNET))
		die("setns");
	dial(&network->targets[0]); /* wakes the server up: not measured */
	for (int i = 0; i < TURN; i++)
		times[i] = dial(&network->targets[(size_t)random() % network->count]);
}

static void report(const struct network *network, long *times, int batch)
{
	qsort(times, batch, sizeof(*times), by_value);
	printf("%s %ld %ld %ld\n", network->name, times[batch / 2], times[batch * 9 / 10],
	       times[batch * 99 / 100]);
}

static void dial_all(int rounds, int turns)
{
	static struct network networks[MAX_NETWORKS];
	static long *times[MAX_NETWORKS];
	int count = 0;

	while (count < MAX_NETWORKS && read_network(&networks[count]))
		if (!(times[count++] = calloc(turns, TURN * sizeof(long))))
			die("memory");
	if (!count)
		die("no networks");
	pin(0);
	srandom(1);
	for (int round = -1; round < rounds; round++) { /* the first fills caches: not measured */
		for (int turn = 0; turn < turns; turn++)
			for (int i = 0; i < count; i++) {
				int next = (turn + i) % count;

				one_turn(&networks[next], times[next] + turn * TURN);
			}
		for (int i = 0; round >= 0 && i < count; i++)
			report(&networks[i], times[i], turns * TURN);
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]));
	if (argc == 4 && !strcmp(argv[1], "dial") && atoi(argv[2]) > 0 && atoi(argv[3]) > 0) {
		dial_all(atoi(argv[2]), atoi(argv[3]));
		return 0;
	}
	fputs("usage: connect serve PORT | connect dial ROUNDS TURNS\n", stderr);
	return 2;
}
