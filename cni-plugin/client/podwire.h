/* The client's parts; what each does stands at the top of its file. */
#ifndef PODWIRE_H
#define PODWIRE_H

#include <stddef.h>

#include "protocol.h"

/* Calls that wait for an agent; its half is node/podwire_node/cni/queue/queued_call.py. */
#define QUEUE_FILES 256
#define QUEUE_FILE_BYTES 65536
#define QUEUE_PATH_BYTES 256 /* with the final zero */

#ifndef PODWIRE_SOCKET
#define PODWIRE_SOCKET "/run/podwire/cni.sock"
#endif
#ifndef PODWIRE_QUEUE
#define PODWIRE_QUEUE "/run/podwire/cni/queue"
#endif

/* CNI error codes (SPEC.md, "Error"). */
enum {
    BAD_ENVIRONMENT = 4,
    INPUT_OUTPUT_FAILED = 5,
    BAD_JSON = 6,
    BAD_CONFIG = 7,
    BAD_NAMESPACE = 8,
    TRY_AGAIN = 11,
    UNAVAILABLE = 50,
};

struct bytes {
    const char *start;
    size_t length;
};

/* call.c: the environment */

enum { CONTAINERID = 1 << 1, NETNS = 1 << 2, IFNAME = 1 << 3, PATH = 1 << 4 };

/* One row of the table of commands. Times are milliseconds. */
struct command {
    const char *name;
    unsigned needs;     /* of the variables, those that must be set */
    long connect_for;   /* how long an agent that is not there is waited for */
    long answer_until;  /* when its answer must be there, by clock.c: the whole call's end */
    int lost;           /* the error code when there is none */
    int waits;          /* whether it is queued instead (queue.c) */
};

/* A call, ready to be handed over. */
struct call {
    const struct command *command;
    struct bytes environment, input;
    int netns;                  /* a descriptor, or -1 */
    const char *socket, *queue; /* paths */
};

const struct command *find_command(void);
struct bytes read_environment(const struct command *command);
struct bytes write_header(const struct call *call);

/* clock.c: when waiting ends */

void start_clock(void);
long elapsed(void);
int is_ready(int descriptor, short events, long deadline);

/* input.c: stdin, and the two members of it that the client reads */

enum found { ABSENT, FOUND, UNUSABLE };

struct bytes read_stdin(const struct command *command);
struct bytes read_stdin_briefly(void);
enum found find_string(struct bytes json, const char *key, char *value, size_t size);

/* agent.c: the conversation */

struct answer {
    int code;
    struct bytes output;
};

int open_namespace(const struct command *command);
int connect_agent(const struct call *call);
struct answer ask_agent(const struct call *call, int agent);

/* queue.c: without an agent */

_Noreturn void lose(const struct call *call, const char *details, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* output.c: stdout */

void speak_version(const char *version);
int print(struct bytes output);
_Noreturn void fail(int code, const char *details, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int print_versions(void);

#endif
