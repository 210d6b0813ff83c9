// `hold end NAME`: ends the program with SIGHUP, as a lost line does, and the holder notifies its clients. A process that
// does not end is killed. With tmux the whole session ends, not only the client that shows it. `hold history NAME`: prints
// what that session has shown.
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

#define WAIT_MS 2000  // for the program to end, and then for the holder to notify its clients
#define HISTORY_LINES "10000"

static bool is_gone(pid_t pid) {
  char *path = format("/proc/%d/stat", pid), *text = read_file(path, NULL);
  const char *name_end = text ? strrchr(text, ')') : NULL;
  bool gone = !name_end || name_end[1] != ' ' || name_end[2] == 'Z' || name_end[2] == 'X';
  free(path);
  free(text);
  return gone;
}

// Waits until a process has ended; false if it has not in time. It is no child of this process, so poll /proc.
static bool wait_for_end(pid_t pid) {
  for (int64_t until = now_ms() + WAIT_MS; now_ms() < until; poll(NULL, 0, 10))
    if (is_gone(pid)) return true;
  return is_gone(pid);
}

static void end_program(pid_t pid) {
  tmux_run(pid, -1, (const char *[]){"kill-session", NULL});
  kill(pid, SIGHUP);
  if (wait_for_end(pid)) return;
  kill(pid, SIGKILL);
  wait_for_end(pid);
}

// Calls a function for each program that a holder has started.
static void for_each_program(pid_t holder, void (*act)(pid_t)) {
  char *path = format("/proc/%d/task/%d/children", holder, holder), *children = read_file(path, NULL);
  free(path);
  for (char *rest = children, *word; (word = rest ? strsep(&rest, " ") : NULL);)
    if (*word) act((pid_t)atol(word));
  free(children);
}

// Returns the process that holds a terminal, or 0 if there is no such terminal.
static pid_t holder_of(struct place place, const char *name) {
  int connection = place_connect(place, name);
  if (connection < 0) return 0;
  struct ucred holder;
  socklen_t size = sizeof holder;
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &holder, &size)) die("cannot find the holder: %s", strerror(errno));
  close(connection);
  return holder.pid;
}

static void print_pane(pid_t pid) { tmux_run(pid, 1, (const char *[]){"capture-pane", "-epJ", "-S-" HISTORY_LINES, NULL}); }

// Prints the last lines of the tmux that a terminal shows, with their colours; nothing if it shows no tmux. They end with
// the screen of the pane that has the cursor. Returns false if there is no such terminal.
bool print_history(struct place place, const char *name) {
  pid_t holder = holder_of(place, name);
  if (holder) for_each_program(holder, print_pane);
  return holder;
}

// Ends a terminal. Returns false if there is no such terminal.
bool end_terminal(struct place place, const char *name) {
  pid_t holder = holder_of(place, name);
  if (!holder) return false;
  for_each_program(holder, end_program);
  // The holder sends the last output to connected clients, but would go on waiting for those that may return.
  if (!wait_for_end(holder)) {
    kill(holder, SIGTERM);
    wait_for_end(holder);
  }
  return true;
}
