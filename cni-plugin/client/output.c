/* What the runtime reads: the agent's answer, the versions, or one error. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "podwire.h"

#ifndef PODWIRE_PRINT_MS
#define PODWIRE_PRINT_MS 2000 /* a runtime reads as we write */
#endif

static char spoken[32] = "1.1.0"; /* the newest, until the configuration says another */

/* Answer in this version. One that looks like none is not repeated. */
void speak_version(const char *version)
{
    if (*version && version[strspn(version, "0123456789.")] == '\0')
        snprintf(spoken, sizeof spoken, "%s", version);
}

/* Write all of it to stdout; 0, or -1 when nobody reads it. A pipe that is ready has room for
 * PIPE_BUF bytes; more would make us wait for the reader inside write(). */
int print(struct bytes output)
{
    long deadline = elapsed() + PODWIRE_PRINT_MS;

    while (output.length) {
        ssize_t count;

        if (!is_ready(STDOUT_FILENO, POLLOUT, deadline))
            return -1;
        count = write(STDOUT_FILENO, output.start,
                      output.length < PIPE_BUF ? output.length : PIPE_BUF);
        if (count < 0 && errno != EINTR && errno != EAGAIN)
            return -1;
        if (count > 0) {
            output.start += count;
            output.length -= (size_t)count;
        }
    }
    return 0;
}

/* A JSON string's inside. What is not printable ASCII becomes a question mark: messages quote
 * paths and variables, whose bytes need not be UTF-8. */
static void quote(char *quoted, size_t size, const char *text)
{
    size_t used = 0;

    for (; *text && used + 3 < size; text++) {
        if (*text == '"' || *text == '\\')
            quoted[used++] = '\\';
        quoted[used++] = *text >= ' ' && *text <= '~' ? *text : '?';
    }
    quoted[used] = '\0';
}

/* Tell the runtime of a failure, and end. `details` may be NULL. */
void fail(int code, const char *details, const char *format, ...)
{
    char message[512], quoted[1024], more[1024], document[2560];
    va_list words;
    int length;

    va_start(words, format);
    vsnprintf(message, sizeof message, format, words);
    va_end(words);
    quote(quoted, sizeof quoted, message);
    quote(more, sizeof more, details ? details : "");
    length = snprintf(document, sizeof document,
                      "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\"%s%s%s}\n", spoken, code,
                      quoted, *more ? ",\"details\":\"" : "", more, *more ? "\"" : "");
    print((struct bytes){document, (size_t)length});
    exit(1);
}

/* VERSION's answer: the caller's version echoed, and ours. */
int print_versions(void)
{
    char document[128];
    int length = snprintf(document, sizeof document,
                          "{\"cniVersion\":\"%s\",\"supportedVersions\":"
                          "[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n",
                          spoken);

    return print((struct bytes){document, (size_t)length}) == 0 ? 0 : 1;
}
