/* The call's clock: every wait ends at a time of it.
 *
 * It begins with main, as the runtime's own does, so that waits add up to no more than the
 * command may take in all (call.c).
 */
#include <errno.h>
#include <poll.h>
#include <time.h>

#include "podwire.h"

static struct timespec begun;

void start_clock(void)
{
    clock_gettime(CLOCK_MONOTONIC, &begun);
}

/* Milliseconds since the start. */
long elapsed(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)(now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000;
}

/* Whether a descriptor became ready for `events` in time, or has nobody at its other end. */
int is_ready(int descriptor, short events, long deadline)
{
    for (;;) {
        struct pollfd poller = {.fd = descriptor, .events = events};
        long left = deadline - elapsed();
        int count = left > 0 ? poll(&poller, 1, (int)left) : 0;

        if (count >= 0 || errno != EINTR)
            return count > 0;
    }
}
