// Counts sessions, tmux servers and held terminals from the kernel's list of processes (proc_pid_stat(5)), and writes messages
// to all terminals.
//
// For each connection OpenSSH has a monitor `sshd-session` whose parent is the listener. After the login, a second
// `sshd-session` under the monitor serves the client: that one is a session. Before the login there is a second one for a
// moment too, until it becomes `sshd-auth`; it has its monitor's title until then. After the listener has ended, the
// monitors' parent is the process that adopts orphans, which is this one.
//
// The holder of a terminal has a process name of its own, as a tmux server does (holder/program.c).
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kit.h"

#define LOOKS 25
#define BETWEEN_LOOKS_MS 20

struct process {
  pid_t pid, parent, group, foreground;  // `foreground`: the foreground group of its terminal
  int terminal;
  char state, name[16];
};

static bool read_process(const char *number, struct process *process) {
  char *path = format("/proc/%s/stat", number);
  char *text = read_file(path, NULL);
  free(path);
  if (!text) return false;  // it has ended meanwhile
  // The name is in parentheses and may contain some itself: the last one ends it.
  char *open = strchr(text, '('), *close = strrchr(text, ')');
  bool whole = open && close && close > open;
  if (whole) {
    *close = 0;
    process->pid = (pid_t)atol(number);
    snprintf(process->name, sizeof process->name, "%s", open + 1);
    whole = sscanf(close + 2, "%c %d %d %*d %d %d", &process->state, &process->parent, &process->group, &process->terminal,
                   &process->foreground) == 5;
  }
  free(text);
  return whole;
}

static const struct process *find(const struct process *all, size_t count, pid_t pid) {
  for (size_t i = 0; i < count; i++)
    if (all[i].pid == pid) return &all[i];
  return NULL;
}

static bool is_before_login(pid_t pid) {
  char *path = format("/proc/%d/cmdline", (int)pid), *title = read_file(path, NULL);
  free(path);
  bool result = !title || !starts_with(title, "sshd-session: ") || !strcmp(title, "sshd-session: [accepted]");
  free(title);
  return result;
}

static bool is_holder(const struct process *process) {
  return starts_with(process->name, "terminal: ") || starts_with(process->name, "command: ");
}

// Returns whether a command runs in the terminal that `first` was started in. A shell that waits for a line is asleep.
static bool runs_command(const struct process *first) { return first->foreground != first->group || first->state != 'S'; }

// Returns whether a command runs in a pane of tmux, which the server starts. Only tmux knows which client shows the pane.
static bool tmux_runs_command(const struct process *all, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const struct process *server = all[i].terminal ? find(all, count, all[i].parent) : NULL;
    if (server && starts_with(server->name, "tmux: server") && runs_command(&all[i])) return true;
  }
  return false;
}

// Returns whether a command runs in a held terminal: the one that it was made for, or one that was typed to its shell or in a
// pane of its tmux.
static bool is_working(const struct process *all, size_t count, const struct process *holder) {
  if (starts_with(holder->name, "command: ")) return true;
  for (size_t i = 0; i < count; i++)
    if (all[i].parent == holder->pid && all[i].terminal)
      return runs_command(&all[i]) || (starts_with(all[i].name, "tmux: client") && tmux_runs_command(all, count));
  return false;
}

struct census census_take(pid_t listener) {
  struct census result = {0};
  struct process *all = NULL;
  size_t count = 0, room = 0;
  DIR *proc = opendir("/proc");
  if (!proc) return result;
  for (struct dirent *entry; (entry = readdir(proc));) {
    if (*entry->d_name < '1' || *entry->d_name > '9') continue;
    if (count == room) all = need(realloc(all, (room = room ? 2 * room : 64) * sizeof *all));
    if (read_process(entry->d_name, &all[count]) && all[count].state != 'Z') count++;
  }
  closedir(proc);

  result.pids = need(calloc(count + 1, sizeof *result.pids));
  for (size_t i = 0; i < count; i++) {
    if (starts_with(all[i].name, "tmux: server")) result.tmux++;
    unsigned number = minor((dev_t)all[i].terminal);
    if (starts_with(all[i].name, "tmux: client") && number < sizeof result.tmux_on) result.tmux_on[number] = true;
    if (strcmp(all[i].name, "sshd-session")) continue;
    const struct process *monitor = find(all, count, all[i].parent);
    if (!monitor || strcmp(monitor->name, "sshd-session")) continue;
    if (monitor->parent != listener && monitor->parent != getpid()) continue;
    if (is_before_login(all[i].pid) || endpoint_is_gateway(all[i].pid)) continue;
    result.pids[result.sessions++] = all[i].pid;
  }
  for (size_t i = 0; i < count; i++) {
    if (!is_holder(&all[i])) continue;
    result.pids[result.sessions + result.terminals++] = all[i].pid;
    if (is_working(all, count, &all[i])) result.working++;
  }
  free(all);
  return result;
}

struct census census_take_surely(pid_t listener) {
  struct census result = census_take(listener);
  int most = result.working;
  for (int look = 1; look < LOOKS && most < result.terminals; look++) {
    poll(NULL, 0, BETWEEN_LOOKS_MS);
    free(result.pids);
    result = census_take(listener);
    if (result.working > most) most = result.working;
  }
  result.working = most < result.terminals ? most : result.terminals;
  return result;
}

// Writes `message` to each terminal. A terminal of a tmux client is left out: tmux would paint over it, and its panes are
// terminals of their own. A terminal that accepts no output (Ctrl-S) is skipped without waiting.
void write_to_terminals(const struct census *census, const char *message) {
  DIR *folder = opendir("/dev/pts");
  if (!folder) return;
  char *text = format("\r\n\a%s\r\n", message);
  for (struct dirent *entry; (entry = readdir(folder));) {
    char *end;
    unsigned long number = strtoul(entry->d_name, &end, 10);
    if (end == entry->d_name || *end) continue;
    if (number < sizeof census->tmux_on && census->tmux_on[number]) continue;
    char *path = format("/dev/pts/%s", entry->d_name);
    int terminal = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    free(path);
    if (terminal < 0) continue;
    ssize_t ignored = write(terminal, text, strlen(text));
    (void)ignored;
    close(terminal);
  }
  free(text);
  closedir(folder);
}
