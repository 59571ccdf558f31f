/* /opt/cni/bin/podwire: hands a container runtime's CNI call to the node's agent.
 *
 *   runtime ── CNI_*, stdin ──► podwire ── a stream, the opened netns ───► agent's socket
 *           ◄─ stdout, code ──          ◄─ stdout, code ────────────────────
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

static void read_socket(struct bytes input, char *path, size_t size)
{
    enum found found = find_string(input, "socket", path, size);

    if (found == ABSENT)
        strncpy(path, PODWIRE_SOCKET, size);
    else if (found == UNUSABLE || path[0] != '/')
        fail(BAD_CONFIG, "the path of the agent's UNIX socket, as its --cni-socket has it",
             "socket: expected an absolute path of less than %zu bytes", size);
}

int main(void)
{
    const struct command *command;
    struct bytes environment, input;
    struct answer answer;
    /* As large as an address has room for, with its final zero. */
    char path[sizeof ((struct sockaddr_un *)NULL)->sun_path];
    int netns, agent;

    start_clock();
    occupy_standard_descriptors();
    command = find_command();
    if (!command)
        return 0;
    if (strcmp(command->name, "VERSION") == 0) {
        read_version(read_stdin_briefly());
        return print_versions();
    }
    environment = read_environment(command);
    input = read_stdin(command);
    read_version(input);
    read_socket(input, path, sizeof path);
    netns = open_namespace(command);
    agent = connect_agent(command, path);
    answer = ask_agent(command, agent, netns, environment, input);
    return print(answer.output) == 0 ? answer.code : 1;
}
