/* file.c - see file.h. */
#include "kernels/file.h"

#include "kernels/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Atomic int64_t fault_countdown;
static _Atomic int fault_fired;

void lk_file_fail_after(int64_t n)
{
    atomic_store(&fault_fired, 0);
    atomic_store(&fault_countdown, n);
}

int lk_file_fault_fired(void)
{
    return atomic_load(&fault_fired);
}

static int fault_due(void)
{
    if (atomic_load(&fault_countdown) <= 0 || atomic_fetch_sub(&fault_countdown, 1) != 1)
        return 0;
    atomic_store(&fault_fired, 1);
    errno = ENOSPC;
    return 1;
}

/* One write; at < 0: at the descriptor's position. */
static ssize_t write_some(int fd, int64_t at, const void *data, size_t n)
{
    if (fault_due())
        return -1;
    return at < 0 ? write(fd, data, n) : pwrite(fd, data, n, (off_t)at);
}

static lk_status write_everything(int fd, int64_t at, const void *data, size_t n, const char *path)
{
    lk_status st = LK_OK;
    const char *from = data;
    while (n > 0) {
        const ssize_t done_now = write_some(fd, at, from, n);
        if (done_now < 0 && errno == EINTR)
            continue;
        LK_REQUIRE(done_now > 0, LK_E_IO, "cannot write '%s': %s", path, strerror(errno));
        from += done_now;
        n -= (size_t)done_now;
        at += at < 0 ? 0 : done_now;
    }
done:
    return st;
}

lk_status lk_write_all(int fd, const void *data, size_t n, const char *path)
{
    return write_everything(fd, -1, data, n, path);
}

lk_status lk_write_at(int fd, int64_t at, const void *data, size_t n, const char *path)
{
    return write_everything(fd, at, data, n, path);
}

/* A stream over the descriptor, so that its writes pass the fault hook as well. */
static ssize_t stream_write(void *cookie, const char *data, size_t n)
{
    const ssize_t done_now = write_some((int)(intptr_t)cookie, -1, data, n);
    return done_now < 0 ? 0 : done_now;
}

static int stream_close(void *cookie)
{
    return close((int)(intptr_t)cookie);
}

lk_status lk_replace_open(lk_replace *file, const char *path)
{
    lk_status st = LK_OK;
    const cookie_io_functions_t io = {.write = stream_write, .close = stream_close};
    struct stat facts;
    memset(file, 0, sizeof *file);
    file->fd = -1;
    LK_TRY(lk_strdup(path, &file->path));
    LK_TRY(LK_NEW_ARRAY(&file->part, strlen(path) + 6));
    sprintf(file->part, "%s.part", path);
    LK_REQUIRE(stat(path, &facts) != 0 || !S_ISDIR(facts.st_mode), LK_E_IO,
               "cannot write '%s': it is a folder", path);
    file->fd = fault_due() ? -1 : open(file->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    LK_REQUIRE(file->fd >= 0, LK_E_IO, "cannot create '%s': %s", path, strerror(errno));
    file->stream = fopencookie((void *)(intptr_t)file->fd, "w", io);
    LK_REQUIRE(file->stream, LK_E_MEMORY, "out of memory opening '%s'", path);
done:
    if (st != LK_OK && file->fd >= 0 && !file->stream)
        close(file->fd);
    return st;
}

static int sync_fd(int fd)
{
    return !fault_due() && (fsync(fd) == 0 || errno == EINVAL);
}

/* The rename itself must reach the disk: it lives in the folder. */
static int sync_folder_of(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    int fd, good;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    good = sync_fd(fd);
    close(fd);
    return good;
}

lk_status lk_replace_commit(lk_replace *file)
{
    lk_status st = LK_OK;
    int good;
    errno = 0;
    good = fflush(file->stream) == 0 && !ferror(file->stream) && sync_fd(file->fd);
    LK_REQUIRE(good, LK_E_IO, "cannot write '%s': %s", file->path,
               errno ? strerror(errno) : "an earlier write failed");
    good = fclose(file->stream) == 0;
    file->stream = NULL;
    LK_REQUIRE(good && !fault_due() && rename(file->part, file->path) == 0, LK_E_IO,
               "cannot write '%s': %s", file->path, strerror(errno));
    lk_free(file->part);
    file->part = NULL;
    LK_REQUIRE(sync_folder_of(file->path), LK_E_IO, "cannot sync the folder of '%s': %s",
               file->path, strerror(errno));
done:
    return st;
}

void lk_replace_drop(lk_replace *file)
{
    if (file->stream)
        fclose(file->stream);
    if (file->part)
        unlink(file->part);
    lk_free(file->part);
    lk_free(file->path);
    memset(file, 0, sizeof *file);
}

lk_status lk_make_folders(const char *path)
{
    lk_status st = LK_OK;
    char partial[4096];
    struct stat facts;
    LK_REQUIRE(strlen(path) > 0 && strlen(path) < sizeof partial, LK_E_ARG,
               "the folder's name is empty or too long");
    snprintf(partial, sizeof partial, "%s", path);
    for (char *c = partial + 1;; c++) {
        const char kept = *c;
        if (kept != '/' && kept != '\0')
            continue;
        *c = '\0';
        LK_REQUIRE(mkdir(partial, 0777) == 0 || errno == EEXIST, LK_E_IO,
                   "cannot make the folder '%s': %s", partial, strerror(errno));
        *c = kept;
        if (kept == '\0')
            break;
    }
    LK_REQUIRE(stat(path, &facts) == 0 && S_ISDIR(facts.st_mode), LK_E_IO, "'%s' is not a folder",
               path);
done:
    return st;
}
