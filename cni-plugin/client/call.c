/* The call: which command, and the variables that it comes with.
 *
 * Only what can be said without the agent is checked here: a known command, its variables
 * present, all of them together bounded. What the values may look like the plugin knows.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "podwire.h"

/* Position n is bit n of a command's needs. CNI_ARGS is no command's need. */
static const char *const VARIABLES[] = {
    "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS",
};
#define COUNT (sizeof VARIABLES / sizeof *VARIABLES)

/* An agent that restarts is away for some seconds; a pod that starts may wait for it. Runtimes
 * give DEL a minute: all that is read and waited for ends 55 s after our start, and what is
 * then printed has 2 s more (output.c). STATUS is asked every few seconds by someone who has no
 * deadline of his own, so it says at once what is so now. */
#ifndef PODWIRE_CONNECT_MS
#define PODWIRE_CONNECT_MS 10000
#endif
#ifndef PODWIRE_DELETE_CONNECT_MS
#define PODWIRE_DELETE_CONNECT_MS 2000
#endif
#ifndef PODWIRE_ANSWER_MS
#define PODWIRE_ANSWER_MS 55000
#endif
#ifndef PODWIRE_STATUS_MS
#define PODWIRE_STATUS_MS 5000
#endif

static const struct command COMMANDS[] = {
    /* name, needs, connect for, answer until, code when lost, waits */
    {"ADD", CONTAINERID | NETNS | IFNAME | PATH, PODWIRE_CONNECT_MS, PODWIRE_ANSWER_MS, TRY_AGAIN, 0},
    {"DEL", CONTAINERID | IFNAME | PATH, PODWIRE_DELETE_CONNECT_MS, PODWIRE_ANSWER_MS, TRY_AGAIN, 1},
    {"CHECK", CONTAINERID | NETNS | IFNAME | PATH, PODWIRE_CONNECT_MS, PODWIRE_ANSWER_MS, TRY_AGAIN, 0},
    {"GC", PATH, PODWIRE_DELETE_CONNECT_MS, PODWIRE_ANSWER_MS, TRY_AGAIN, 0},
    {"STATUS", PATH, 0, PODWIRE_STATUS_MS, UNAVAILABLE, 0},
    {"VERSION", 0, 0, 0, 0, 0},
};

static int is_set(const char *name)
{
    const char *value = getenv(name);

    return value && *value;
}

/* The call's command; NULL when a person has started us, who has been told what we are. */
const struct command *find_command(void)
{
    const char *word = getenv("CNI_COMMAND");

    if (!word || !*word) {
        fputs("podwire: hands CNI calls to the node's podwire agent\n"
              "CNI protocol versions supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n", stderr);
        return NULL;
    }
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(word, COMMANDS[i].name) == 0)
            return &COMMANDS[i];
    fail(BAD_ENVIRONMENT, NULL, "unknown CNI_COMMAND: %.32s", word);
}

static void require_variables(const struct command *command)
{
    char missing[128] = ""; /* all names together have 66 bytes */

    for (size_t i = 0; i < COUNT; i++) {
        if (!(command->needs & 1u << i) || is_set(VARIABLES[i]))
            continue;
        if (*missing)
            strcat(missing, ",");
        strcat(missing, VARIABLES[i]);
    }
    if (*missing)
        fail(BAD_ENVIRONMENT, NULL, "required env variables [%s] missing", missing);
}

/* The environment as the protocol spells it. */
struct bytes read_environment(const struct command *command)
{
    static char block[ENVIRONMENT_BYTES];
    size_t used = 0;

    require_variables(command);
    for (size_t i = 0; i < COUNT; i++) {
        int written;

        if (!is_set(VARIABLES[i]))
            continue;
        written = snprintf(block + used, sizeof block - used, "%s=%s", VARIABLES[i],
                           getenv(VARIABLES[i]));
        if (written < 0 || (size_t)written >= sizeof block - used)
            fail(BAD_ENVIRONMENT, NULL, "%s: the CNI variables together exceed %d bytes",
                 VARIABLES[i], ENVIRONMENT_BYTES);
        used += (size_t)written + 1;
    }
    return (struct bytes){block, used};
}

/* What goes before the environment and stdin, to the agent or into the queue. */
struct bytes write_header(const struct call *call)
{
    static char header[HEADER_BYTES];
    uint32_t sizes[] = {
        htonl((uint32_t)call->environment.length),
        htonl((uint32_t)call->input.length),
    };

    memcpy(header, REQUEST_MAGIC, 4);
    memcpy(header + 4, sizes, sizeof sizes);
    return (struct bytes){header, sizeof header};
}
