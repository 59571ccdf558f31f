/* The conversation with the agent: find it, hand over the call, take its answer.
 *
 * The socket never blocks; clock.c waits, and never past the deadline.
 */
#define _GNU_SOURCE /* struct ucred */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h> /* POLLIN, POLLOUT: clock.c waits */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "podwire.h"

/* No event tells that someone listens; a restarting agent is asked again this often. */
#define RETRY_MS 50

/* The pod's namespace, opened here because the agent may live in a mount namespace that does
 * not show it; -1 when there is none and the command needs none. */
int open_namespace(const struct command *command)
{
    const char *path = getenv("CNI_NETNS");
    int netns;

    if (!path || !*path)
        return -1;
    /* Without O_NONBLOCK a FIFO would wait for its other end. */
    netns = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (netns < 0 && command->needs & NETNS)
        fail(BAD_NAMESPACE, strerror(errno), "CNI_NETNS: cannot open '%.256s'", path);
    return netns;
}

/* Whoever holds the other end is root, or who we are: a descriptor of a pod's namespace is
 * not for others. */
static int is_trusted(int agent)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    return getsockopt(agent, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static int try_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (agent < 0)
        return -1;
    memcpy(address.sun_path, path, strlen(path));
    if (connect(agent, (struct sockaddr *)&address, sizeof address) == 0)
        return agent;
    close(agent); /* which leaves errno alone: there is nothing to flush */
    return -1;
}

/* A socket to the agent. One that is not there yet (ENOENT, ECONNREFUSED) or has its hands full
 * (EAGAIN) is tried again for as long as the command allows. */
int connect_agent(const struct call *call)
{
    const struct command *command = call->command;
    const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
    long deadline = elapsed() + command->connect_for;

    if (deadline > command->answer_until)
        deadline = command->answer_until;
    for (;;) {
        int agent = try_connect(call->socket);

        if (agent >= 0 && is_trusted(agent))
            return agent;
        if (agent >= 0)
            fail(INPUT_OUTPUT_FAILED, NULL, "the socket '%s' is served by another user",
                 call->socket);
        if (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN && errno != EINTR)
            fail(INPUT_OUTPUT_FAILED, strerror(errno), "cannot use the socket '%s'", call->socket);
        if (elapsed() >= deadline)
            lose(call, strerror(errno), "the node's podwire agent does not answer at '%s'",
                 call->socket);
        nanosleep(&pause, NULL);
    }
}

/* Send a piece, with a descriptor unless it is -1. An agent that stopped listening may still
 * have answered, so a refusal to listen is not an error yet. */
static void hand_over(int agent, struct bytes piece, int descriptor, long deadline)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;

    while (piece.length) {
        struct iovec vector = {(char *)piece.start, piece.length};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        ssize_t count;

        if (descriptor >= 0) {
            memset(&control, 0, sizeof control);
            control.header.cmsg_len = CMSG_LEN(sizeof(int));
            control.header.cmsg_level = SOL_SOCKET;
            control.header.cmsg_type = SCM_RIGHTS;
            memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
            message.msg_control = &control;
            message.msg_controllen = sizeof control;
        }
        count = sendmsg(agent, &message, MSG_NOSIGNAL);
        if (count > 0) {
            piece.start += count;
            piece.length -= (size_t)count;
            descriptor = -1;
        } else if (errno == EAGAIN) {
            if (!is_ready(agent, POLLOUT, deadline))
                return;
        } else if (errno != EINTR) {
            return;
        }
    }
}

static void receive(const struct call *call, int agent, char *room, size_t length)
{
    long deadline = call->command->answer_until;
    size_t used = 0;

    while (used < length) {
        ssize_t count = recv(agent, room + used, length - used, 0);

        if (count > 0) {
            used += (size_t)count;
        } else if (count == 0 || errno == ECONNRESET) {
            lose(call, NULL, "the node's podwire agent hung up without an answer");
        } else if (errno == EAGAIN) {
            if (!is_ready(agent, POLLIN, deadline))
                lose(call, NULL, "the node's podwire agent gave no answer within %ld ms", deadline);
        } else if (errno != EINTR) {
            fail(INPUT_OUTPUT_FAILED, strerror(errno), "cannot read the agent's answer");
        }
    }
}

/* The whole conversation. */
struct answer ask_agent(const struct call *call, int agent)
{
    static char output[ANSWER_BYTES];
    long deadline = call->command->answer_until;
    char header[HEADER_BYTES];
    uint32_t numbers[2];

    hand_over(agent, write_header(call), call->netns, deadline);
    hand_over(agent, call->environment, -1, deadline);
    hand_over(agent, call->input, -1, deadline);
    receive(call, agent, header, sizeof header);
    memcpy(numbers, header + 4, sizeof numbers);
    numbers[0] = ntohl(numbers[0]);
    numbers[1] = ntohl(numbers[1]);
    if (memcmp(header, ANSWER_MAGIC, 4) != 0 || numbers[0] > 255 || numbers[1] > ANSWER_BYTES)
        fail(INPUT_OUTPUT_FAILED, "client and agent may be of versions that do not fit",
             "the agent's answer cannot be understood");
    receive(call, agent, output, numbers[1]);
    return (struct answer){(int)numbers[0], {output, numbers[1]}};
}
