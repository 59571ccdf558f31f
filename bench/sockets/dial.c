/*
 * Sockets of several contenders, each dialled from a process of its own, in turns.
 *
 *     dial serve accept|echo|drain|datagrams PORT
 *                                       serves until it is killed; prints "ready"
 *     dial turns connect|exchange|datagrams|conversation|stream TURNS COUNT
 *                                       each contender is a line of standard input:
 *                                       NAME /run/netns/… CGROUP|- SERVER-PID ADDRESS:PORT …
 *
 * connect        COUNT connections, each timed by itself, each to another target
 * exchange       COUNT times: connect, 64 bytes there, 64 bytes back, close
 * datagrams      one unconnected UDP socket, COUNT questions to as many targets
 * conversation   one connected UDP socket, COUNT questions to one target
 * stream         one connection, COUNT MiB
 *
 * A socket belongs to the cgroup that its maker is in, so a contender is a process that enters its
 * cgroup and its namespace once, then waits for its turns. In a turn all contenders are measured one
 * after the other, and who begins changes: what else the machine does falls on all of them. For
 * each, a line: NAME WALL CPU TIME …; nanoseconds. CPU is that of the dialer and its server, with
 * the packets that the kernel moves in their name. Of connect a TIME for each connection.
 *
 * Sockets are bound before the clock starts, so that the search for a free port is not in it, and
 * closed with a reset, so that no TIME_WAIT takes the port.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	MAX_CONTENDERS = 16,
	MAX_COUNT = 4096,
	FIRST_PORT = 2048,
	LAST_PORT = 65000,
	BACKLOG = 4096,
	QUESTION = 64,
	MEBIBYTE = 1 << 20,
	PATIENCE_S = 5,
};

struct result {
	long wall;
	long cpu;
	long times[MAX_COUNT];
};

struct contender {
	char *name;
	char *namespace;
	char *cgroup;
	clockid_t server; /* its processor time */
	struct sockaddr_in *targets;
	size_t count;
	int ask; /* a byte for each turn */
	int answer; /* a struct result */
};

typedef void work(const struct contender *, int count, struct result *);

static char buffer[MEBIBYTE];

static void die(const char *what)
{
	fprintf(stderr, "dial: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long clock_ns(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now))
		die("clock");
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/*
 * Who dials is on one processor. Who only accepts or drains is on another one, where there are two.
 * Who answers shares the dialer's: each waits for the other anyway, and waking up another processor
 * takes longer, and less evenly, than what is measured.
 */
static void pin(int processor)
{
	cpu_set_t set;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof(set), &set); /* where it is forbidden, the figures are noisier */
}

/* ---- who answers ---- */

static void echo(int peer)
{
	ssize_t size = recv(peer, buffer, QUESTION, MSG_WAITALL);

	if (size == QUESTION)
		(void)!send(peer, buffer, QUESTION, MSG_NOSIGNAL);
	(void)!recv(peer, buffer, QUESTION, 0); /* until the other side has closed */
}

static void drain(int peer)
{
	while (recv(peer, buffer, sizeof(buffer), 0) > 0)
		;
	(void)!send(peer, "", 1, MSG_NOSIGNAL);
}

static void serve_stream(int listener, void (*serve)(int))
{
	if (listen(listener, BACKLOG))
		die("listen");
	puts("ready");
	fflush(stdout);
	for (;;) {
		int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (peer < 0 && errno != ECONNABORTED && errno != EINTR)
			die("accept");
		if (peer >= 0 && serve)
			serve(peer);
		if (peer >= 0)
			close(peer);
	}
}

/* It answers from the address that was asked: there are many, and one socket. */
static void serve_datagrams(int socket)
{
	char control[CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct sockaddr_in asker;
	struct iovec data = { buffer, QUESTION };
	int one = 1;

	setsockopt(socket, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct msghdr message = { &asker, sizeof(asker), &data, 1, control, sizeof(control), 0 };
		struct cmsghdr *header;

		data.iov_len = QUESTION;
		if (recvmsg(socket, &message, 0) != QUESTION)
			continue;
		for (header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
			if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
				struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(header);

				info->ipi_spec_dst = info->ipi_addr;
				info->ipi_ifindex = 0;
			}
		(void)!sendmsg(socket, &message, 0);
	}
}

static void serve(const char *kind, int port)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(port) };
	int datagrams = !strcmp(kind, "datagrams"), one = 1;
	int answers = datagrams || !strcmp(kind, "echo");
	int made = socket(AF_INET, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	pin(answers ? 0 : 1);
	setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (made < 0 || bind(made, (struct sockaddr *)&own, sizeof(own)))
		die("serve");
	if (datagrams)
		serve_datagrams(made);
	serve_stream(made, !strcmp(kind, "echo") ? echo : !strcmp(kind, "drain") ? drain : NULL);
}

/* ---- who dials ---- */

static const struct sockaddr_in *any(const struct contender *contender)
{
	return &contender->targets[(size_t)random() % contender->count];
}

static int bound(int type)
{
	static int port = FIRST_PORT;
	struct sockaddr_in own = { .sin_family = AF_INET };
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int one = 1, made = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (made < 0)
		die("socket");
	port = port < LAST_PORT ? port + 1 : FIRST_PORT;
	own.sin_port = htons(port);
	setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (type == SOCK_STREAM)
		setsockopt(made, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (bind(made, (struct sockaddr *)&own, sizeof(own)))
		die("bind");
	return made;
}

static long dialled(int made, const struct sockaddr_in *target)
{
	long before = clock_ns(CLOCK_MONOTONIC);

	if (connect(made, (const struct sockaddr *)target, sizeof(*target)))
		die("connect");
	return clock_ns(CLOCK_MONOTONIC) - before;
}

static void ask(int made)
{
	if (send(made, buffer, QUESTION, MSG_NOSIGNAL) != QUESTION)
		die("send");
	if (recv(made, buffer, QUESTION, MSG_WAITALL) != QUESTION)
		die("no answer");
}

static void connections(const struct contender *contender, int count, struct result *result)
{
	for (int i = -1; i < count; i++) { /* the first wakes the server up: not measured */
		int made = bound(SOCK_STREAM);
		long took = dialled(made, any(contender));

		if (i >= 0)
			result->times[i] = took;
		close(made);
	}
}

static void exchanges(const struct contender *contender, int count, struct result *result)
{
	(void)result;
	for (int i = 0; i < count; i++) {
		int made = bound(SOCK_STREAM);

		dialled(made, any(contender));
		ask(made);
		close(made);
	}
}

static void datagrams(const struct contender *contender, int count, struct result *result)
{
	int made = bound(SOCK_DGRAM);

	(void)result;
	for (int i = 0; i < count; i++) {
		const struct sockaddr_in *to = any(contender);
		struct sockaddr_in from;
		socklen_t size = sizeof(from);

		if (sendto(made, buffer, QUESTION, 0, (const struct sockaddr *)to, sizeof(*to)) != QUESTION)
			die("sendto");
		if (recvfrom(made, buffer, QUESTION, 0, (struct sockaddr *)&from, &size) != QUESTION)
			die("no answer");
		if (from.sin_addr.s_addr != to->sin_addr.s_addr || from.sin_port != to->sin_port) {
			errno = EPROTO;
			die("an answer from someone else");
		}
	}
	close(made);
}

static void conversation(const struct contender *contender, int count, struct result *result)
{
	int made = bound(SOCK_DGRAM);

	(void)result;
	dialled(made, any(contender));
	for (int i = 0; i < count; i++)
		ask(made);
	close(made);
}

static void stream(const struct contender *contender, int count, struct result *result)
{
	int made = bound(SOCK_STREAM);

	(void)result;
	dialled(made, any(contender));
	for (int i = 0; i < count; i++)
		for (ssize_t sent = 0, now; sent < MEBIBYTE; sent += now)
			if ((now = send(made, buffer, MEBIBYTE - sent, MSG_NOSIGNAL)) < 0)
				die("send");
	shutdown(made, SHUT_WR);
	if (recv(made, buffer, 1, 0) != 1)
		die("no answer");
	close(made);
}

static void enter(const struct contender *contender)
{
	int namespace = open(contender->namespace, O_RDONLY | O_CLOEXEC);

	if (namespace < 0 || setns(namespace, CLONE_NEWNET))
		die(contender->namespace);
	close(namespace);
	if (strcmp(contender->cgroup, "-")) {
		int processes = open(contender->cgroup, O_WRONLY | O_CLOEXEC);

		if (processes < 0 || write(processes, "0", 1) != 1)
			die(contender->cgroup);
		close(processes);
	}
	pin(0);
}

/* Until there are no more turns. */
static void take_turns(const struct contender *contender, work *work, int count, int asked, int answer)
{
	static struct result result;
	char byte;

	enter(contender);
	while (read(asked, &byte, 1) == 1) {
		long cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + clock_ns(contender->server);
		long wall = clock_ns(CLOCK_MONOTONIC);

		work(contender, count, &result);
		result.wall = clock_ns(CLOCK_MONOTONIC) - wall;
		result.cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + clock_ns(contender->server) - cpu;
		if (write(answer, &result, sizeof(result)) != sizeof(result)) /* blocks until it is taken */
			die("answer");
	}
	exit(0);
}

/* ---- who gives the turns ---- */

static void add_target(struct contender *contender, char *word)
{
	char *colon = strrchr(word, ':');
	struct sockaddr_in *target;

	contender->targets = realloc(contender->targets, (contender->count + 1) * sizeof(*target));
	if (!colon || !contender->targets)
		die(word);
	*colon = '\0';
	target = &contender->targets[contender->count++];
	*target = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(atoi(colon + 1)) };
	if (inet_pton(AF_INET, word, &target->sin_addr) != 1)
		die(word);
}

static int read_contender(struct contender *contender)
{
	char *line = NULL, *rest = NULL, *word;
	size_t size = 0;

	if (getline(&line, &size, stdin) < 0)
		return 0;
	contender->name = strtok_r(line, " \n", &rest);
	contender->namespace = strtok_r(NULL, " \n", &rest);
	contender->cgroup = strtok_r(NULL, " \n", &rest);
	word = strtok_r(NULL, " \n", &rest);
	if (!word || clock_getcpuclockid(atoi(word), &contender->server))
		die("a contender's server");
	while ((word = strtok_r(NULL, " \n", &rest)))
		add_target(contender, word);
	if (!contender->count) {
		errno = EINVAL;
		die("a contender without targets");
	}
	return 1;
}

static void start(struct contender *contender, work *work, int count)
{
	int turns[2], answers[2];

	if (pipe2(turns, O_CLOEXEC) || pipe2(answers, O_CLOEXEC))
		die("pipe");
	fcntl(answers[1], F_SETPIPE_SZ, 1 << 20);
	switch (fork()) {
	case -1:
		die("fork");
		break;
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(turns[1]);
		close(answers[0]);
		take_turns(contender, work, count, turns[0], answers[1]);
	}
	close(turns[0]);
	close(answers[1]);
	contender->ask = turns[1];
	contender->answer = answers[0];
}

static void one_turn(const struct contender *contender, int times, int told)
{
	static struct result result;
	size_t have = 0;

	if (write(contender->ask, "", 1) != 1)
		die(contender->name);
	while (have < sizeof(result)) {
		ssize_t now = read(contender->answer, (char *)&result + have, sizeof(result) - have);

		if (now <= 0)
			die(contender->name);
		have += (size_t)now;
	}
	if (!told)
		return;
	printf("%s %ld %ld", contender->name, result.wall, result.cpu);
	for (int i = 0; i < times; i++)
		printf(" %ld", result.times[i]);
	putchar('\n');
	fflush(stdout);
}

static void give_turns(work *work, int turns, int count)
{
	static struct contender contenders[MAX_CONTENDERS];
	int have = 0;

	while (have < MAX_CONTENDERS && read_contender(&contenders[have]))
		start(&contenders[have++], work, count);
	for (int turn = -1; turn < turns; turn++) /* the first fills caches: not measured */
		for (int i = 0; i < have; i++)
			one_turn(&contenders[(turn + 1 + i) % have], work == connections ? count : 0, turn >= 0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		work *work;
	} works[] = { { "connect", connections },	{ "exchange", exchanges },
		      { "datagrams", datagrams },	{ "conversation", conversation },
		      { "stream", stream } };

	if (argc == 4 && !strcmp(argv[1], "serve"))
		serve(argv[2], atoi(argv[3]));
	for (size_t i = 0; argc == 5 && !strcmp(argv[1], "turns") && i < sizeof(works) / sizeof(*works); i++)
		if (!strcmp(argv[2], works[i].name) && atoi(argv[4]) > 0 && atoi(argv[4]) <= MAX_COUNT) {
			give_turns(works[i].work, atoi(argv[3]), atoi(argv[4]));
			return 0;
		}
	fputs("usage: dial serve accept|echo|drain|datagrams PORT\n"
	      "       dial turns connect|exchange|datagrams|conversation|stream TURNS COUNT\n",
	      stderr);
	return 2;
}
