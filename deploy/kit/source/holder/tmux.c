// How tmux is started in a terminal: the features of the clients' terminals, and Stagedoor's defaults.
// src/stagedoor/holder/tmux.py does the same and has the reasons.
//
// Sources: tmux(1), its `-f`, `-T` and terminal-features.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holder.h"

#define TMUX_S 2  // the bound on one command of tmux

extern char **environ;

static const char FEATURES[] =
    "256,RGB,sync,clipboard,usstyle,overline,strikethrough,extkeys,focus,title,mouse,bpaste,hyperlinks";

static const char OPTIONS[] =
    "set -s escape-time 10\n"
    "set -s focus-events on\n"
    "set -s set-clipboard on\n"
    "set -g history-limit 50000\n"
    "set -g mouse on\n"
    "set -g status-left-length 43\n"
    "%if \"#{>=:#{version},3.5a}\"\n"
    "set -s extended-keys on\n"
    "set -s extended-keys-format csi-u\n"
    "%endif\n";

static const char FILES[] =
    "source-file -q /etc/tmux.conf\n"
    "source-file -q \"$HOME/.tmux.conf\"\n"
    "source-file -q \"$HOME/.config/tmux/tmux.conf\"\n"
    "%if \"#{!=:$XDG_CONFIG_HOME,}\"\n"
    "%if \"#{!=:$XDG_CONFIG_HOME,$HOME/.config}\"\n"
    "source-file -q \"$XDG_CONFIG_HOME/tmux/tmux.conf\"\n"
    "%endif\n"
    "%endif\n";

// Returns whether a command requests tmux where there is one, and the login shell elsewhere.
bool tmux_is_requested(const char *command) { return !strcmp(command, "tmux") || !strcmp(command, "tmux mouse"); }

// Returns the command that shows the session with the terminal's name. Without `defaults` tmux reads its own files.
char **tmux_words(char *words[TMUX_WORDS], const char *program, const char *defaults, const char *name) {
  const char *all[TMUX_WORDS] = {program, "-u", "-T", FEATURES, "new-session", "-A", "-s", name};
  const char *file[] = {"-f", defaults};
  if (defaults) {
    memmove(all + 6, all + 4, 4 * sizeof *all);
    memcpy(all + 4, file, sizeof file);
  }
  memcpy(words, all, sizeof all);
  return words;
}

// Writes the file for `-f` beside the terminal's socket and returns its path. `described`: this machine's terminfo(5) has
// TMUX_TERM.
char *tmux_defaults(const char *name, bool described) {
  struct place place = place_open(place_of_terminals());
  char *file = place_file(name, ".tmux.conf"), *folder = realpath(place.path, NULL);
  char *text = format("%s%s%s", OPTIONS, described ? "set -g default-terminal " TMUX_TERM "\n" : "", FILES);
  size_t length = strlen(text);
  int fd = openat(place.folder, file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (!folder || fd < 0 || write(fd, text, length) != (ssize_t)length) die("cannot write %s/%s: %s", place.path, file, strerror(errno));
  close(fd);
  return format("%s/%s", folder, file);
}

// Returns the name of the session that `pid` shows as a target of tmux, or NULL if it is no tmux.
static char *session_of(pid_t pid) {
  char *path = format("/proc/%d/cmdline", pid), *name = NULL;
  size_t length = 0;
  char *words = read_file(path, &length);
  free(path);
  const char *base = words && strrchr(words, '/') ? strrchr(words, '/') + 1 : words;
  for (size_t at = 0; base && !strcmp(base, "tmux") && at < length; at += strlen(words + at) + 1)
    if (!strcmp(words + at, "-s") && at + 3 < length) name = format("=%s:", words + at + 3);
  free(words);
  return name;
}

// Runs a command on the session that `pid` shows, if it is tmux. Its output goes to `output`, or nowhere if that is -1.
void tmux_run(pid_t pid, int output, const char *const *command) {
  char *name = session_of(pid);
  char *tmux = environment_is_saved() ? need(strdup(TOOLS "/tmux")) : find_program("tmux", getenv("PATH"));
  pid_t child = name && tmux ? fork() : -1;
  if (!child) {
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
      if (fd != output) dup2(null, fd);
    const char *argv[8] = {tmux};
    int count = 1;
    while (*command) argv[count++] = *command++;
    argv[count++] = "-t";
    argv[count] = name;
    alarm(TMUX_S);
    execve(tmux, (char **)argv, environ);
    _exit(127);
  }
  if (child > 0) waitpid(child, NULL, 0);
  free(name);
  free(tmux);
}
