// `hold attach NAME | join NAME | list | end NAME`: run inside a shell by the gateway, through the shell's sshd.
//
// `attach` joins stdin and stdout to a terminal, whose holder it starts if there is none yet; `join` starts
// none, and exits with NOT_THERE. Both pass the bytes of the terminal protocol on without reading them.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holder.h"

#define CHUNK (64 * 1024)
#define USAGE "usage: hold attach NAME | join NAME | list | history NAME | end NAME"
#define NOT_THERE 3

// Closes all inherited descriptors except `kept`. Faults are written to a file beside the socket.
static void let_go(struct place place, const char *name, int kept) {
  // SIGPIPE ends `attach` with its reader. The holder handles a lost link itself, and continues.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  char *file = place_file(name, ".faults");
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  int faults = openat(place.folder, file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  free(file);
  if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(faults < 0 ? null : faults, 2) < 0) exit(1);
  // The lock is one of them: a fork shares it, so it would never become free (flock(2)).
  for (int fd = 3, most = (int)sysconf(_SC_OPEN_MAX); fd < most && fd < 65536; fd++)
    if (fd != kept && fd != place.folder) close(fd);
}

// Starts the holder as a daemon: it outlives this process and its connection.
static void start(struct place place, const char *name) {
  int listener = place_listen(place, name);
  pid_t first = fork();
  if (first < 0) die("cannot start the holder: %s", strerror(errno));
  if (first) {
    close(listener);
    waitpid(first, NULL, 0);
    return;
  }
  setsid();
  if (fork()) _exit(0);
  let_go(place, name, listener);
  listen(listener, BACKLOG);  // again, so that SO_PEERCRED names this process to clients (unix(7))
  serve(listener, place, name);
  char *file = place_file(name, SOCKET);
  unlinkat(place.folder, file, 0);
  place_mark_locked(place, name, false);
  serve_hang_up();
  _exit(0);
}

// Copies both ways until one side is gone. It reads no faster than it can write.
static void carry(int connection) {
  static uint8_t data[CHUNK];
  struct pollfd from[] = {{.fd = 0, .events = POLLIN}, {.fd = connection, .events = POLLIN}};
  const int to[] = {connection, 1};
  signal(SIGPIPE, SIG_IGN);
  for (;;) {
    if (poll(from, 2, -1) < 0 && errno != EINTR) return;
    for (int i = 0; i < 2; i++) {
      if (!from[i].revents) continue;
      ssize_t got = read(from[i].fd, data, sizeof data);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return;
      if (write_all(to[i], data, (size_t)got)) continue;
      if (i == 1) return;
      from[0].fd = -1;  // the holder has hung up: its last bytes still have to be passed on
    }
  }
}

static int attach(struct place place, const char *name) {
  int connection = place_connect(place, name);
  if (connection < 0) {
    int lock = place_lock(place, name);
    connection = place_connect(place, name);
    if (connection < 0) {
      start(place, name);
      connection = place_connect(place, name);
    }
    close(lock);
  }
  if (connection < 0) die("the terminal ended as soon as it had been started");
  carry(connection);
  return 0;
}

// Attaches to a terminal that another person started, and starts none.
static int join(struct place place, const char *name) {
  int connection = place_connect(place, name);
  if (connection < 0) {
    fprintf(stderr, "stagedoor: there is no terminal %s\n", name);
    return NOT_THERE;
  }
  carry(connection);
  return 0;
}

int hold_main(int argc, char **argv) {
  signal(SIGPIPE, SIG_DFL);
  const char *verb = argc > 1 ? argv[1] : "", *name = argc == 3 ? argv[2] : NULL;
  bool attaches = !strcmp(verb, "attach"), joins = !strcmp(verb, "join"), ends = !strcmp(verb, "end");
  bool takes_name = attaches || joins || ends || !strcmp(verb, "history");
  if (!(name ? takes_name : argc == 2 && !strcmp(verb, "list"))) {
    fputs(USAGE "\n", stderr);
    return 2;
  }
  if (name) place_check_name(name);
  struct place place = place_open(place_of_terminals());
  if (attaches) return attach(place, name);
  if (joins) return join(place, name);
  if (!name) place_list(place);
  else if (!(ends ? end_terminal : print_history)(place, name)) die("there is no terminal %s", name);
  return 0;
}
