// `hold end NAME`: ends the program with SIGHUP, as a lost line does, and the holder notifies its clients. A process that
// does not end is killed. With tmux the whole session ends, not only the client that shows it.
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

#include "../kit.h"
#include "holder.h"

#define WAIT_MS 2000  // for the program to end, and then for the holder to notify its clients

extern char **environ;

static bool is_gone(pid_t pid) {
  char *path = format("/proc/%d/stat", pid), *text = read_file(path, NULL);
  const char *name_end = text ? strrchr(text, ')') : NULL;
  bool gone = !name_end || name_end[1] != ' ' || name_end[2] == 'Z' || name_end[2] == 'X';
  free(path);
  free(text);
  return gone;
}

// Waits until a process has ended; false if it has not in time. It is no child of this process, so poll /proc.
static bool goes(pid_t pid) {
  for (int64_t until = now_ms() + WAIT_MS; now_ms() < until; poll(NULL, 0, 10))
    if (is_gone(pid)) return true;
  return is_gone(pid);
}

// Ends the tmux session that `pid` shows, if it is tmux: after a SIGHUP it would only be detached.
static void end_tmux(pid_t pid) {
  char *path = format("/proc/%d/cmdline", pid), *name = NULL;
  size_t length = 0;
  char *words = read_file(path, &length);
  free(path);
  const char *base = words && strrchr(words, '/') ? strrchr(words, '/') + 1 : words;
  for (size_t at = 0; base && !strcmp(base, "tmux") && at < length; at += strlen(words + at) + 1)
    if (!strcmp(words + at, "-s") && at + 3 < length) name = format("=%s", words + at + 3);
  char *tmux = environment_is_saved() ? need(strdup(TOOLS "/tmux")) : find_program("tmux", getenv("PATH"));
  pid_t child = name && tmux ? fork() : -1;
  if (!child) {
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++) dup2(null, fd);
    char *argv[] = {tmux, "kill-session", "-t", name, NULL};
    alarm(WAIT_MS / 1000);
    execve(tmux, argv, environ);
    _exit(127);
  }
  if (child > 0) waitpid(child, NULL, 0);
  free(words);
}

static void end_program(pid_t pid) {
  end_tmux(pid);
  kill(pid, SIGHUP);
  if (goes(pid)) return;
  kill(pid, SIGKILL);
  goes(pid);
}

static void end_children(pid_t holder) {
  char *path = format("/proc/%d/task/%d/children", holder, holder), *children = read_file(path, NULL);
  free(path);
  for (char *rest = children, *word; (word = rest ? strsep(&rest, " ") : NULL);)
    if (*word) end_program((pid_t)atol(word));
  free(children);
}

// Ends a terminal. Returns false if there is no such terminal.
bool end_terminal(struct place place, const char *name) {
  int connection = place_connect(place, name);
  if (connection < 0) return false;
  struct ucred holder;
  socklen_t size = sizeof holder;
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &holder, &size)) die("cannot find the holder: %s", strerror(errno));
  close(connection);
  end_children(holder.pid);
  // The holder sends the last output to connected clients, but would go on waiting for those that may return.
  if (!goes(holder.pid)) {
    kill(holder.pid, SIGTERM);
    goes(holder.pid);
  }
  return true;
}
