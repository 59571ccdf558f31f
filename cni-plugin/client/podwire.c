/* /opt/cni/bin/podwire: hands a container runtime's CNI call to the node's agent.
 *
 *   runtime ── CNI_*, stdin ──► podwire ── a stream, the opened netns ───► agent's socket
 *           ◄─ stdout, code ──          ◄─ stdout, code ────────────────────
 *                               │ no agent, and it is a DEL
 *                               └──────► a folder, from which an agent takes it later (queue.c)
 *
 * It knows nothing of links or addresses. It is written in C and linked statically because it
 * runs on the host, which may have neither Python nor a C library of ours, and because starting
 * a process is most of what a call costs.
 *
 * Rules for whoever changes it:
 *   - stdout holds one JSON document or nothing, whatever happens; of a document that nobody
 *     reads to its end there may be a beginning, and the exit code is 1.
 *   - No allocation: everything is bounded, and has its room from the start.
 *   - Every wait has a deadline, and all together one (call.c). A runtime holds a lock while we
 *     run: a DEL that waited for ever has kept whole nodes from starting pods (containerd#13326).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "podwire.h"

/* A descriptor that the caller closed would be given to the next file we open: the netns could
 * become stdout. */
static void occupy_standard_descriptors(void)
{
    int opened;

    do
        opened = open("/dev/null", O_RDWR);
    while (opened >= 0 && opened <= STDERR_FILENO);
    if (opened > STDERR_FILENO)
        close(opened);
}

static void read_version(struct bytes input)
{
    char version[32];

    if (find_string(input, "cniVersion", version, sizeof version) == FOUND)
        speak_version(version);
}

static void read_path(struct bytes input, const char *key, const char *otherwise, char *path,
                      size_t size)
{
    enum found found = find_string(input, key, path, size);

    if (found == ABSENT)
        strncpy(path, otherwise, size);
    else if (found == UNUSABLE || path[0] != '/')
        fail(BAD_CONFIG, "the agent's own --cni-socket and --cni-state-dir say what belongs here",
             "%s: expected an absolute path of less than %zu bytes", key, size);
}

int main(void)
{
    struct call call;
    struct answer answer;
    /* As large as an address has room for, with its final zero. */
    static char socket[sizeof ((struct sockaddr_un *)NULL)->sun_path];
    static char queue[QUEUE_PATH_BYTES];

    start_clock();
    occupy_standard_descriptors();
    call.command = find_command();
    if (!call.command)
        return 0;
    if (strcmp(call.command->name, "VERSION") == 0) {
        read_version(read_stdin_briefly());
        return print_versions();
    }
    call.environment = read_environment(call.command);
    call.input = read_stdin(call.command);
    read_version(call.input);
    read_path(call.input, "socket", PODWIRE_SOCKET, socket, sizeof socket);
    read_path(call.input, "queueDir", PODWIRE_QUEUE, queue, sizeof queue);
    call.socket = socket;
    call.queue = queue;
    call.netns = open_namespace(call.command);
    answer = ask_agent(&call, connect_agent(&call));
    return print(answer.output) == 0 ? answer.code : 1;
}
