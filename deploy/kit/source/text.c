// Strings, files, messages on stderr, and the clock for all deadlines.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kit.h"

// Returns the milliseconds of a clock that only goes forward.
int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void write_line(const char *text, va_list arguments) {
  fputs("stagedoor: ", stderr);
  vfprintf(stderr, text, arguments);
  fputc('\n', stderr);
}

// Ends the program with exit status 1 and one line on stderr.
void die(const char *text, ...) {
  va_list arguments;
  va_start(arguments, text);
  write_line(text, arguments);
  va_end(arguments);
  exit(1);
}

// Writes one line to stderr.
void say(const char *text, ...) {
  va_list arguments;
  va_start(arguments, text);
  write_line(text, arguments);
  va_end(arguments);
}

// Unblocks all signals and resets their handlers. A child that starts a program calls this, since exec keeps what is ignored.
void reset_signals(void) {
  sigset_t none;
  for (int number = 1; number < NSIG; number++)
    if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

// Returns `memory`, or ends the program if it is NULL.
void *need(void *memory) {
  if (!memory) die("out of memory");
  return memory;
}

// Like asprintf(3), but ends the program if it fails.
char *format(const char *text, ...) {
  va_list arguments;
  char *result;
  va_start(arguments, text);
  if (vasprintf(&result, text, arguments) < 0) die("out of memory");
  va_end(arguments);
  return result;
}

void strings_add(struct strings *list, char *text) {
  if (list->count + 1 >= list->room) {
    list->room = list->room ? 2 * list->room : 64;
    list->at = need(realloc(list->at, list->room * sizeof *list->at));
  }
  list->at[list->count++] = text;
  list->at[list->count] = NULL;
}

bool starts_with(const char *text, const char *prefix) {
  return !strncmp(text, prefix, strlen(prefix));
}

// Returns whether a character could control a terminal.
bool is_control(char c) { return (unsigned char)c < ' ' || c == 127; }

// Returns the whole file with a NUL after it, or NULL with errno set. `length` may be NULL.
char *read_file(const char *path, size_t *length) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return NULL;
  size_t used = 0, room = 4096;
  char *bytes = need(malloc(room));
  for (;;) {
    if (used + 1 >= room) bytes = need(realloc(bytes, room *= 2));
    ssize_t got = read(file, bytes + used, room - used - 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      int error = errno;
      close(file);
      free(bytes);
      errno = error;
      return NULL;
    }
    if (got == 0) break;
    used += (size_t)got;
  }
  close(file);
  bytes[used] = 0;
  if (length) *length = used;
  return bytes;
}

// Writes all bytes. Returns false with errno set if that fails.
bool write_all(int file, const void *bytes, size_t length) {
  for (const char *at = bytes, *end = at + length; at < end;) {
    ssize_t written = write(file, at, (size_t)(end - at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    at += written;
  }
  return true;
}

// Makes or replaces a file in one step, so that no reader sees half of it.
void write_file(const char *path, mode_t mode, const char *bytes, size_t length) {
  char *fresh = format("%s.new", path);
  unlink(fresh);
  int file = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (file < 0) die("cannot write %s: %s; the pod needs a writable volume at " RUN, fresh, strerror(errno));
  if (fchmod(file, mode) || !write_all(file, bytes, length) || close(file) || rename(fresh, path))
    die("cannot write %s: %s", path, strerror(errno));
  free(fresh);
}
