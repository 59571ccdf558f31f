/* Starts CNI plugins as a runtime does, and says how long each took, from start to end.
 *
 *   spawn WIDTH < calls        at most WIDTH of them at once
 *
 * A call is a list of strings that each end with a zero byte; an empty one ends the list:
 *
 *   /run/netns/NODE  PROGRAM  STDIN-FILE  STDOUT-FILE  NAME=VALUE …  ""
 *
 * It answers with a line a call, in their order: start and end in nanoseconds of one clock, and
 * the exit code, or 128 and the signal. A runtime in Go or C starts a plugin by clone(CLONE_VFORK):
 * so does posix_spawn(), which copies no page tables. The clock starts before it, when the node's
 * namespace has been entered, and stops when the end of the process has been waited for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 16 << 20, MOST_CALLS = 1 << 14, MOST_VARIABLES = 32 };

struct call {
    pid_t pid;
    int64_t start, end;
    int code;
};

static char text[MOST_BYTES];
static struct call calls[MOST_CALLS];
static size_t begun, ended;

static int64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static size_t read_all(void)
{
    size_t length = 0;
    ssize_t some;
    while ((some = read(STDIN_FILENO, text + length, sizeof text - length)) > 0)
        length += (size_t)some;
    if (some < 0 || length == sizeof text || (length && text[length - 1]))
        error(1, errno, "stdin is no list of calls");
    return length;
}

static void enter(const char *node)
{
    static const char *inside = "";
    if (strcmp(inside, node) == 0)
        return;
    int netns = open(node, O_RDONLY | O_CLOEXEC);
    if (netns < 0 || setns(netns, CLONE_NEWNET) < 0)
        error(1, errno, "%s", node);
    close(netns);
    inside = node;
}

/* Starts the call whose strings begin at a place; answers where the next one's do. */
static const char *start(const char *at)
{
    const char *words[4 + MOST_VARIABLES + 1] = {0};
    size_t count = 0;
    for (; *at; at += strlen(at) + 1) {
        if (count == 4 + MOST_VARIABLES)
            error(1, 0, "a call has too many variables");
        words[count++] = at;
    }
    if (count < 4 || begun == MOST_CALLS)
        error(1, 0, "a call is too short, or there are too many");
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, words[2], O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, words[3],
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char *arguments[] = {(char *)words[1], NULL};
    struct call *call = &calls[begun++];
    enter(words[0]);
    call->start = now();
    int failed = posix_spawn(&call->pid, words[1], &files, NULL, arguments, (char **)words + 4);
    if (failed)
        error(1, failed, "%s", words[1]);
    posix_spawn_file_actions_destroy(&files);
    return at + 1;
}

static void wait_for_one(void)
{
    int status;
    pid_t pid = wait(&status);
    int64_t end = now();
    for (size_t i = 0; i < begun; i++)
        if (calls[i].pid == pid && !calls[i].end) {
            calls[i].end = end;
            calls[i].code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            ended++;
            return;
        }
    error(1, errno, "wait");
}

int main(int count, char **arguments)
{
    size_t width = count == 2 ? strtoul(arguments[1], NULL, 10) : 0;
    if (width == 0)
        error(2, 0, "how many at once?");
    const char *at = text, *last = text + read_all();
    while (at < last || ended < begun)
        if (at < last && begun - ended < width)
            at = start(at);
        else
            wait_for_one();
    for (size_t i = 0; i < begun; i++)
        printf("%" PRId64 " %" PRId64 " %d\n", calls[i].start, calls[i].end, calls[i].code);
    return 0;
}
