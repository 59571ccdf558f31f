/* The configuration on stdin: read whole, and searched for two of its strings.
 *
 * The search does not judge the JSON; the plugin does that. It is right for good JSON and
 * harmless for bad: one pass, no recursion, no byte read past the end or written past the room.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "podwire.h"

#ifndef PODWIRE_STDIN_MS
#define PODWIRE_STDIN_MS 10000 /* a runtime writes and closes at once */
#endif

static char room[STDIN_BYTES + 1]; /* one more, so that the excess can be told */

/* Read until the end or until the room is full; -1 with errno. */
static ssize_t read_until(long deadline)
{
    size_t used = 0;

    while (used < sizeof room) {
        ssize_t count;

        if (!is_ready(STDIN_FILENO, POLLIN, deadline)) {
            errno = ETIMEDOUT;
            return -1;
        }
        count = read(STDIN_FILENO, room + used, sizeof room - used);
        if (count == 0)
            break;
        if (count > 0)
            used += (size_t)count;
        else if (errno != EINTR && errno != EAGAIN)
            return -1;
    }
    return (ssize_t)used;
}

struct bytes read_stdin(const struct command *command)
{
    long own = PODWIRE_STDIN_MS;
    ssize_t length = read_until(own < command->answer_until ? own : command->answer_until);

    if (length < 0)
        fail(INPUT_OUTPUT_FAILED, strerror(errno), "cannot read the configuration from stdin");
    if (length > STDIN_BYTES)
        fail(BAD_JSON, NULL, "configuration on stdin is larger than %d bytes", STDIN_BYTES);
    return (struct bytes){room, (size_t)length};
}

/* VERSION must answer even a caller who gives no stdin and forgets to close it. */
struct bytes read_stdin_briefly(void)
{
    ssize_t length = 0;

    if (is_ready(STDIN_FILENO, POLLIN, elapsed() + 100))
        length = read(STDIN_FILENO, room, STDIN_BYTES);

    return (struct bytes){room, length > 0 ? (size_t)length : 0};
}

static size_t skip_space(struct bytes json, size_t at)
{
    while (at < json.length && memchr(" \t\r\n", json.start[at], 4))
        at++;
    return at;
}

/* From behind a string's first quote to its last quote, or to the end of the text. */
static size_t end_of_string(struct bytes json, size_t at)
{
    while (at < json.length && json.start[at] != '"')
        at += json.start[at] == '\\' ? 2 : 1;
    return at < json.length ? at : json.length;
}

/* Copy a string's inside. Of the escapes it knows those that a path may have. */
static enum found copy_string(struct bytes inside, char *value, size_t size)
{
    size_t used = 0;

    for (size_t at = 0; at < inside.length; at++) {
        unsigned char byte = (unsigned char)inside.start[at];

        if (byte == '\\') {
            if (++at == inside.length || !memchr("\"\\/", inside.start[at], 3))
                return UNUSABLE;
            byte = (unsigned char)inside.start[at];
        }
        if (byte < ' ' || used + 1 >= size)
            return UNUSABLE;
        value[used++] = (char)byte;
    }
    value[used] = '\0';
    return FOUND;
}

/* The value behind a key, which ends at `at`. */
static enum found read_member(struct bytes json, size_t at, char *value, size_t size)
{
    size_t end;

    at = skip_space(json, at);
    if (at >= json.length || json.start[at] != ':')
        return UNUSABLE;
    at = skip_space(json, at + 1);
    if (json.length - at >= 4 && memcmp(json.start + at, "null", 4) == 0)
        return ABSENT;
    if (at >= json.length || json.start[at] != '"')
        return UNUSABLE;
    end = end_of_string(json, at + 1);
    if (end >= json.length)
        return UNUSABLE;
    return copy_string((struct bytes){json.start + at + 1, end - at - 1}, value, size);
}

/* Find a string among the members of the outermost object; of two the last counts, as it does
 * for the plugin. `value` gets a C string and is worth something only when FOUND. */
enum found find_string(struct bytes json, const char *key, char *value, size_t size)
{
    size_t depth = 0, end, at = skip_space(json, 0);
    int key_comes = 0;
    enum found found = ABSENT;

    if (at == json.length || json.start[at] != '{')
        return ABSENT;
    for (; at < json.length; at++) {
        switch (json.start[at]) {
        case '{':
        case '[':
            key_comes = ++depth == 1;
            break;
        case '}':
        case ']':
            if (depth <= 1)
                return found;
            depth--;
            break;
        case ',':
            key_comes = depth == 1;
            break;
        case '"':
            end = end_of_string(json, at + 1);
            if (key_comes && end - at - 1 == strlen(key) &&
                memcmp(json.start + at + 1, key, strlen(key)) == 0)
                found = read_member(json, end + 1, value, size);
            key_comes = 0;
            at = end;
            break;
        }
    }
    return found;
}
