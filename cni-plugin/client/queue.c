/* A DEL that no agent could take: it waits in a folder, and the runtime may go on.
 *
 *   DEL, no agent, or no answer ──► .PID-TIME.tmp ── fsync, rename ──► CONTAINER-MESSAGE.del
 *                                   (the message of protocol.h)        (64 bits of FNV-1a each)
 *
 * An agent performs what waits before it listens, and what waits for a container before that
 * container's next ADD (node/podwire_node/cni/queue/deletions.py). The name is there before the runtime
 * hears of success, and the runtime makes no ADD before that. So there is nothing to lock here,
 * and no moment in which an agent that starts could overlook a call for good: at worst the
 * folder's change wakes it.
 *
 * The same call again is the same file: a runtime that repeats its DELs does not fill the
 * folder. Clients that count at the same moment may exceed the bound by their own number.
 *
 * The folder is root's, or ours, and nobody else's to write: each file in it ends a pod's network.
 */
#define _GNU_SOURCE /* syscall() */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "podwire.h"

static char because[192]; /* why a call could not be queued */

static int refuse(const char *format, ...)
{
    va_list words;

    va_start(words, format);
    vsnprintf(because, sizeof because, format, words);
    va_end(words);
    return -1;
}

/* Make the folder and those above it. What is wrong with them, opening the folder tells. */
static void make_folders(const char *path)
{
    char part[QUEUE_PATH_BYTES];

    for (size_t at = 1; at < sizeof part - 1; at++) {
        if (path[at] && path[at] != '/')
            continue;
        memcpy(part, path, at);
        part[at] = '\0';
        mkdir(part, 0700);
        if (!path[at])
            return;
    }
}

static int open_folder(const char *path)
{
    struct stat status;
    int folder;

    make_folders(path);
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || fstat(folder, &status) != 0)
        return refuse("%s", strerror(errno));
    if ((status.st_uid != 0 && status.st_uid != geteuid()) || status.st_mode & (S_IWGRP | S_IWOTH))
        return refuse("others may write to it: chown root and chmod go-w it");
    return folder;
}

/* What the kernel lists; opendir() would allocate. */
struct record {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
};

/* Files in the folder, temporary ones too; at the bound it stops to count. */
static int count_files(int folder)
{
    static char room[8192];
    int entries = 0;
    long length;

    while ((length = syscall(SYS_getdents64, folder, room, sizeof room)) > 0)
        for (long at = 0; at < length; entries++) {
            struct record record;

            if (entries == QUEUE_FILES + 2)
                return QUEUE_FILES;
            memcpy(&record, room + at, sizeof record);
            at += record.length;
        }
    return entries - 2; /* . and .. */
}

static uint64_t hash(uint64_t value, struct bytes text)
{
    for (size_t i = 0; i < text.length; i++)
        value = (value ^ (unsigned char)text.start[i]) * 0x100000001b3u;
    return value;
}

#define EMPTY_HASH 0xcbf29ce484222325u

static void name_call(const struct bytes pieces[3], char *name, size_t size)
{
    const char *id = getenv("CNI_CONTAINERID");
    uint64_t container = hash(EMPTY_HASH, (struct bytes){id, strlen(id)});
    uint64_t message = EMPTY_HASH;

    for (int i = 0; i < 3; i++)
        message = hash(message, pieces[i]);
    snprintf(name, size, "%016llx-%016llx.del", (unsigned long long)container,
             (unsigned long long)message);
}

static int write_all(int file, struct bytes piece)
{
    while (piece.length) {
        ssize_t count = write(file, piece.start, piece.length);

        if (count < 0 && errno != EINTR)
            return -1;
        if (count > 0) {
            piece.start += count;
            piece.length -= (size_t)count;
        }
    }
    return 0;
}

/* 0 when the file has its whole content and its name, also after a power cut; -1 with errno. */
static int write_file(int folder, const char *name, const struct bytes pieces[3])
{
    char beside[64];
    struct timespec now;
    int file, failed = 0, reason;

    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(beside, sizeof beside, ".%ld-%lld%09ld.tmp", (long)getpid(), (long long)now.tv_sec,
             now.tv_nsec);
    file = openat(folder, beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        return -1;
    for (int i = 0; i < 3 && !failed; i++)
        failed = write_all(file, pieces[i]);
    if (!failed && fsync(file) == 0 && renameat(folder, beside, folder, name) == 0)
        return fsync(folder);
    reason = errno;
    unlinkat(folder, beside, 0);
    errno = reason;
    return -1;
}

/* 0 when the call waits in its folder; -1 with `because`. */
static int queue_call(const struct call *call)
{
    struct bytes pieces[] = {write_header(call), call->environment, call->input};
    char name[64];
    int folder;

    if (pieces[0].length + pieces[1].length + pieces[2].length > QUEUE_FILE_BYTES)
        return refuse("the call is larger than %d bytes", QUEUE_FILE_BYTES);
    folder = open_folder(call->queue);
    if (folder < 0)
        return -1;
    name_call(pieces, name, sizeof name);
    if (faccessat(folder, name, F_OK, 0) != 0 && count_files(folder) >= QUEUE_FILES)
        return refuse("it is full: %d calls wait there for an agent", QUEUE_FILES);
    if (write_file(folder, name, pieces) != 0)
        return refuse("%s", strerror(errno));
    return 0;
}

/* There is no agent, or no answer of one: the end of a call. A DEL that can be queued has
 * succeeded. */
void lose(const struct call *call, const char *details, const char *format, ...)
{
    char message[512];
    va_list words;

    va_start(words, format);
    vsnprintf(message, sizeof message, format, words);
    va_end(words);
    if (!call->command->waits)
        fail(call->command->lost, details, "%s", message);
    if (queue_call(call) == 0)
        exit(0);
    fail(call->command->lost, because, "%s, and the DEL cannot be queued in '%.200s'", message,
         call->queue);
}
