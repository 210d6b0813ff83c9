// The folder of a shell's terminals, with a socket for each, and that of its tunnels. Other accounts cannot enter them.
//
// In the kit it is in memory, at a fixed path. Elsewhere the environment may name it, as for the holder in Python.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "holder.h"

#define FOLDER "STAGEDOOR_TERMINALS"
#define ELSEWHERE (environment_is_saved() ? "" : ", or name another one in the variable " FOLDER)
#define MAX_NAME 40
#define LOCKED ".locked"

// Returns the path of the folder for terminals.
char *place_of_terminals(void) {
  const char *named = getenv(FOLDER), *runtime = getenv("XDG_RUNTIME_DIR");
  if (environment_is_saved()) return need(strdup(RUN "/terminals"));
  if (named && *named) return need(strdup(named));
  if (runtime && *runtime) return format("%s/stagedoor", runtime);
  return format("/tmp/stagedoor-%u", getuid());
}

// Makes the folders above a path, as mkdir -p does.
static void make_parents(const char *path) {
  char *upper = need(strdup(path));
  for (char *at = upper + 1; (at = strchr(at, '/')); *at++ = '/') {
    *at = 0;
    mkdir(upper, 0777);
  }
  free(upper);
}

// Opens the folder, and makes it if it is missing. Ends the program unless its mode is 0700 and its owner this account.
struct place place_open(const char *path) {
  struct place place = {.path = path};
  make_parents(place.path);
  struct stat found;
  if (mkdir(place.path, 0700) && errno != EEXIST)
    die("the folder %s cannot be used: %s; remove it%s", place.path, strerror(errno), ELSEWHERE);
  // In a folder such as /tmp, another user may have made it first.
  place.folder = open(place.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (place.folder < 0 || fstat(place.folder, &found) || found.st_uid != getuid() || found.st_mode & 077)
    die("the folder %s cannot be used: it is not private; remove it%s", place.path, ELSEWHERE);
  return place;
}

void place_check_name(const char *name) {
  static const char MIDDLE[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
  size_t length = strlen(name);
  bool is = length && length <= MAX_NAME && strspn(name, MIDDLE) == length && !strchr("_-", name[0]) &&
            !strchr("_-", name[length - 1]);
  if (!is) die("that is not a name for a terminal: use lower-case letters, digits, - and _, %d characters at most", MAX_NAME);
}

// Returns the name of a terminal's file in the folder; free() it.
char *place_file(const char *name, const char *suffix) { return format("%s%s", name, suffix); }

// Records beside the socket whether the terminal is locked, for `hold list`.
void place_mark_locked(struct place place, const char *name, bool locked) {
  char *file = place_file(name, LOCKED);
  int mark = locked ? openat(place.folder, file, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600) : -1;
  if (mark >= 0) close(mark);
  if (!locked) unlinkat(place.folder, file, 0);
  free(file);
}

// Returns the socket's address, through /proc, since an address has room for 107 bytes only (unix(7)).
static struct sockaddr_un address_of(struct place place, const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s" SOCKET, place.folder, name);
  return address;
}

static int make_socket(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("cannot make a socket: %s", strerror(errno));
  return fd;
}

// Returns a connection to a terminal, or -1 if no holder listens there.
int place_connect(struct place place, const char *name) {
  struct sockaddr_un address = address_of(place, name);
  int fd = make_socket();
  if (!connect(fd, (struct sockaddr *)&address, sizeof address)) return fd;
  close(fd);
  return -1;
}

// Waits for the lock of a terminal, so that only one of two processes starts it. Closing the descriptor releases it.
int place_lock(struct place place, const char *name) {
  char *file = place_file(name, ".lock");
  int lock = openat(place.folder, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (lock < 0) die("cannot make %s/%s: %s", place.path, file, strerror(errno));
  while (flock(lock, LOCK_EX))
    if (errno != EINTR) die("cannot lock %s/%s: %s", place.path, file, strerror(errno));
  free(file);
  return lock;
}

// Returns the listening socket of a new terminal. The caller must hold its lock.
int place_listen(struct place place, const char *name) {
  struct sockaddr_un address = address_of(place, name);
  unlink(address.sun_path);
  place_mark_locked(place, name, false);
  int fd = make_socket();
  if (bind(fd, (struct sockaddr *)&address, sizeof address) || chmod(address.sun_path, 0600) || listen(fd, BACKLOG))
    die("cannot listen at %s/%s" SOCKET ": %s", place.path, name, strerror(errno));
  return fd;
}

static int by_name(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

static bool is_locked(struct place place, const char *name) {
  char *file = place_file(name, LOCKED);
  bool locked = !faccessat(place.folder, file, F_OK, 0);
  free(file);
  return locked;
}

// Prints a line for each terminal that answers, sorted by name: the name, and "\tlocked" if it is locked.
void place_list(struct place place) {
  struct strings found = {0};
  DIR *folder = fdopendir(dup(place.folder));
  if (!folder) die("cannot read %s: %s", place.path, strerror(errno));
  for (struct dirent *entry; (entry = readdir(folder));) {
    char *end = strstr(entry->d_name, SOCKET);
    if (!end || strcmp(end, SOCKET) || (size_t)(end - entry->d_name) > MAX_NAME) continue;
    *end = 0;
    int fd = place_connect(place, entry->d_name);
    if (fd >= 0) strings_add(&found, need(strdup(entry->d_name)));
    if (fd >= 0) close(fd);
  }
  closedir(folder);
  if (found.count) qsort(found.at, found.count, sizeof *found.at, by_name);
  for (size_t i = 0; i < found.count; i++) printf("%s%s\n", found.at[i], is_locked(place, found.at[i]) ? "\tlocked" : "");
  if (!found.count) puts("");
}
