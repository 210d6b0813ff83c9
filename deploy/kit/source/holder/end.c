// `hold end NAME`: its program is told as by a lost line (SIGHUP), and its clients are notified of the end. What does
// not go by itself is killed. Of tmux the whole session ends, not only what shows it.
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

#define WAIT_MS 2000  // so long the program may take to go, and the holder then to tell everybody

extern char **environ;

static bool is_gone(pid_t pid) {
  char *path = format("/proc/%d/stat", pid), *text = read_file(path, NULL);
  const char *name_end = text ? strrchr(text, ')') : NULL;
  bool gone = !name_end || name_end[1] != ' ' || name_end[2] == 'Z' || name_end[2] == 'X';
  free(path);
  free(text);
  return gone;
}

// Somebody else's child is no event for us: it is looked for.
static bool goes(pid_t pid) {
  for (int64_t until = now_ms() + WAIT_MS; now_ms() < until; poll(NULL, 0, 10))
    if (is_gone(pid)) return true;
  return is_gone(pid);
}

// The session that `pid` shows, if that is tmux; by a SIGHUP it would only be left.
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

// False if there is no such terminal.
bool end_terminal(struct place place, const char *name) {
  int connection = place_connect(place, name);
  if (connection < 0) return false;
  struct ucred holder;
  socklen_t size = sizeof holder;
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &holder, &size)) die("cannot find the holder: %s", strerror(errno));
  close(connection);
  end_children(holder.pid);
  // Its last words are said to those who are there; for those who may return it would wait.
  if (!goes(holder.pid)) {
    kill(holder.pid, SIGTERM);
    goes(holder.pid);
  }
  return true;
}
