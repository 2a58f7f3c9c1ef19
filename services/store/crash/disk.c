/* Linked into the crash tests between them and the C library (`ld --wrap`): in a child that its
 * environment asks for it, records what the store does to its files, or makes the disk fail.
 *
 * SHIM_DIR  only files below this directory are looked at.
 * SHIM_LOG  append a record of every successful change to this file (optional).
 * SHIM_FAIL while this file exists, its text says what fails: 'w' (writes) or 's' (syncs), followed
 *           by the errno to report (optional).
 *
 * Record: op, path length (4 bytes), offset (8), data length (8), path, data. Numbers are in the
 * machine's order. Ops: 'w' write, 't' truncate to offset, 's' sync (of a file or a directory),
 * 'c' name created, 'u' name removed. A lock makes the order of records the order of effects.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *dir, *fail;
static size_t dir_len;
static int log_fd = -1;

int __real_open(const char *, int, ...);
ssize_t __real_write(int, const void *, size_t);
ssize_t __real_pwrite(int, const void *, size_t, off_t);
int __real_ftruncate(int, off_t);
int __real_fsync(int);
int __real_fdatasync(int);
int __real_unlink(const char *);

__attribute__((constructor)) static void start(void) {
    const char *log = getenv("SHIM_LOG");
    if (log) log_fd = __real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    fail = getenv("SHIM_FAIL");
    dir = getenv("SHIM_DIR");
    dir_len = dir ? strlen(dir) : 0;
}

static int inside(const char *path) {
    return dir && strncmp(path, dir, dir_len) == 0;
}

/* Path of a descriptor below the directory, or 0. */
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len < 0) return 0;
    path[len] = 0;
    return inside(path);
}

static void all(const void *data, size_t len) {
    const char *at = data;
    while (len > 0) {
        ssize_t n = __real_write(log_fd, at, len);
        if (n <= 0) abort();
        at += n;
        len -= (size_t)n;
    }
}

static void record(char op, const char *path, uint64_t offset, const void *data, uint64_t len) {
    if (log_fd < 0) return;
    int saved = errno;
    uint32_t path_len = (uint32_t)strlen(path);
    all(&op, 1);
    all(&path_len, sizeof path_len);
    all(&offset, sizeof offset);
    all(&len, sizeof len);
    all(path, path_len);
    all(data, len);
    errno = saved;
}

/* Whether operations of this kind fail now; sets errno. The store's files only: not its lock. */
static int fails(char op, const char *path) {
    if (!fail || !strstr(path, ".db")) return 0;
    int fd = __real_open(fail, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char text[16] = {0};
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 2 || text[0] != op) return 0;
    errno = atoi(text + 1);
    return 1;
}

static int open_any(const char *path, int flags, mode_t mode) {
    if (!(flags & O_CREAT) || !inside(path)) return __real_open(path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = access(path, F_OK) != 0;
    int fd = __real_open(path, flags, mode);
    if (fd >= 0 && is_new) record('c', path, 0, "", 0);
    if (fd >= 0 && !is_new && (flags & O_TRUNC)) record('t', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

int __wrap_open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return open_any(path, flags, mode);
}

int __wrap_open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return open_any(path, flags | O_LARGEFILE, mode);
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return __real_pwrite(fd, data, len, offset);
    if (fails('w', path)) return -1;
    pthread_mutex_lock(&lock);
    ssize_t n = __real_pwrite(fd, data, len, offset);
    if (n > 0) record('w', path, (uint64_t)offset, data, (uint64_t)n);
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset) {
    return __wrap_pwrite(fd, data, len, offset);
}

ssize_t __wrap_write(int fd, const void *data, size_t len) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return __real_write(fd, data, len);
    if (fails('w', path)) return -1;
    pthread_mutex_lock(&lock);
    ssize_t n = __real_write(fd, data, len);
    if (n > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        record('w', path, (uint64_t)(end - n), data, (uint64_t)n);
    }
    pthread_mutex_unlock(&lock);
    return n;
}

int __wrap_ftruncate(int fd, off_t len) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return __real_ftruncate(fd, len);
    if (fails('w', path)) return -1;
    pthread_mutex_lock(&lock);
    int done = __real_ftruncate(fd, len);
    if (done == 0) record('t', path, (uint64_t)len, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int __wrap_ftruncate64(int fd, off_t len) {
    return __wrap_ftruncate(fd, len);
}

static int sync_any(int fd, int (*real)(int)) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return real(fd);
    if (fails('s', path)) return -1;
    pthread_mutex_lock(&lock);
    int done = real(fd);
    if (done == 0) record('s', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int __wrap_fsync(int fd) {
    return sync_any(fd, __real_fsync);
}

int __wrap_fdatasync(int fd) {
    return sync_any(fd, __real_fdatasync);
}

int __wrap_unlink(const char *path) {
    if (!inside(path)) return __real_unlink(path);
    pthread_mutex_lock(&lock);
    int done = __real_unlink(path);
    if (done == 0) record('u', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}
