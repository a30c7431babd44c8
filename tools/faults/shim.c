/* Makes files fail and clocks jump, for processes that load this before their libraries.

   SEGX_FAULTS          file that is shared with the harness: the numbers of `struct control`
   SEGX_FAULTS_BELOW    folders whose files fail, separated by colons

   What the C library does inside of itself (the buffer that `fclose` flushes, pages of files that
   are mapped) does not come by here. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NOTHING, READS, WRITES };

static struct control {
    int64_t reads, writes; /* calls so far, of all processes */
    int64_t fired;         /* calls that were made to fail */
    int64_t shift_s;       /* added to the wall clock */
    int64_t kind;          /* what fails: NOTHING, READS or WRITES */
    int64_t at;            /* number of the call that fails */
    int64_t stays;         /* whether all after it fail too */
    int64_t error;         /* errno of a call that fails */
} *control;

static const char *below;

/* Called when a process begins, and again by one that is told of the file later. */
__attribute__((constructor)) void segx_faults_begin(void) {
    const char *name = getenv("SEGX_FAULTS");
    int file = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDWR) : -1;
    if (file < 0) return;
    void *memory = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    below = getenv("SEGX_FAULTS_BELOW");
    control = memory == MAP_FAILED ? NULL : memory;
}

static int is_below(const char *path) {
    for (const char *start = below; start && *start;) {
        size_t length = strcspn(start, ":");
        if (length && strncmp(path, start, length) == 0 && strchr("/", path[length])) return 1;
        start += length + (start[length] == ':');
    }
    return 0;
}

/* Count a call; 1 if it is to fail, with errno set. */
static int fails(int kind, const char *path) {
    if (!control || !is_below(path)) return 0;
    int64_t *calls = kind == READS ? &control->reads : &control->writes;
    int64_t number = __atomic_add_fetch(calls, 1, __ATOMIC_SEQ_CST);
    if (control->kind != kind || number < control->at) return 0;
    if (number > control->at && !control->stays) return 0;
    __atomic_add_fetch(&control->fired, 1, __ATOMIC_SEQ_CST);
    errno = (int)control->error;
    return 1;
}

static int fails_file(int kind, int file) {
    char link[32], path[PATH_MAX];
    int before = errno;
    if (!control || !below) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = before;
    if (length <= 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

/* Paths are the harness's own and absolute; one that is relative is looked at once it is open. */
static int fails_open(const char *path, int flags) {
    return fails((flags & O_ACCMODE) == O_RDONLY ? READS : WRITES, path);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ON_FILE(kind, type, name, parameters, file, ...) \
    type name parameters { \
        REAL(name); \
        return fails_file(kind, file) ? (type)-1 : real(__VA_ARGS__); \
    }

ON_FILE(READS, ssize_t, read, (int f, void *b, size_t n), f, f, b, n)
ON_FILE(READS, ssize_t, pread, (int f, void *b, size_t n, off_t o), f, f, b, n, o)
ON_FILE(READS, ssize_t, pread64, (int f, void *b, size_t n, off64_t o), f, f, b, n, o)
ON_FILE(READS, ssize_t, readv, (int f, const struct iovec *v, int n), f, f, v, n)
ON_FILE(WRITES, ssize_t, write, (int f, const void *b, size_t n), f, f, b, n)
ON_FILE(WRITES, ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), f, f, b, n, o)
ON_FILE(WRITES, ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), f, f, b, n, o)
ON_FILE(WRITES, ssize_t, writev, (int f, const struct iovec *v, int n), f, f, v, n)
ON_FILE(WRITES, int, fsync, (int f), f, f)
ON_FILE(WRITES, int, fdatasync, (int f), f, f)

/* Variants that check the size of a buffer, which some libraries are compiled to. */
ssize_t __read_chk(int f, void *b, size_t n, size_t size) { (void)size; return read(f, b, n); }
ssize_t __pread_chk(int f, void *b, size_t n, off_t o, size_t size) {
    (void)size;
    return pread(f, b, n, o);
}
ssize_t __pread64_chk(int f, void *b, size_t n, off64_t o, size_t size) {
    (void)size;
    return pread64(f, b, n, o);
}

size_t fread(void *b, size_t size, size_t n, FILE *stream) {
    REAL(fread);
    return fails_file(READS, fileno(stream)) ? 0 : real(b, size, n, stream);
}
size_t __fread_chk(void *b, size_t room, size_t size, size_t n, FILE *stream) {
    (void)room;
    return fread(b, size, n, stream);
}
size_t fwrite(const void *b, size_t size, size_t n, FILE *stream) {
    REAL(fwrite);
    return fails_file(WRITES, fileno(stream)) ? 0 : real(b, size, n, stream);
}

FILE *fopen(const char *path, const char *mode) {
    REAL(fopen);
    return fails_open(path, *mode == 'r' ? O_RDONLY : O_WRONLY) ? NULL : real(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    REAL(fopen64);
    return fails_open(path, *mode == 'r' ? O_RDONLY : O_WRONLY) ? NULL : real(path, mode);
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

int open(const char *path, int flags, ...) {
    REAL(open);
    MODE(flags)
    return fails_open(path, flags) ? -1 : real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    REAL(open64);
    MODE(flags)
    return fails_open(path, flags) ? -1 : real(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    REAL(openat);
    MODE(flags)
    return fails_open(path, flags) ? -1 : real(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    REAL(openat64);
    MODE(flags)
    return fails_open(path, flags) ? -1 : real(folder, path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int failed = real(clock, now);
    int is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!failed && is_wall && control) now->tv_sec += control->shift_s;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    REAL(gettimeofday);
    int failed = real(now, zone);
    if (!failed && control) now->tv_sec += control->shift_s;
    return failed;
}
time_t time(time_t *into) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
