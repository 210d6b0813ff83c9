// The program in the terminal: its start, as a login would start it, and its window. In the kit the program is the login shell
// that sshd starts too, with the variables that sshd sets; elsewhere it is the same as in src/stagedoor/holder/program.py.
//
// Sources: pty(7), ioctl_tty(2), signal(7), terminfo(5).
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <termios.h>
#include <unistd.h>

#include "holder.h"

extern char **environ;

#define FALLBACK_TERM "xterm-256color"
#define REDRAW_MS 60   // how long a window stays one row smaller, so that a program which checks at once sees the change

struct program program;

// Rows come first in `struct winsize`.
static void set_size(int fd, struct size size) {
  struct winsize packed = {size.rows, size.columns, size.x_pixels, size.y_pixels};
  ioctl(fd, TIOCSWINSZ, &packed);
}

void terminal_resize(struct size size) {
  if (program.pid && !program.ended) set_size(program.fd, size);
}

// Returns a signal's name without SIG (RFC 4254 §6.10), or "" for a signal without a name.
const char *signal_name(int number) {
  static const struct {
    int number;
    const char *name;
  } NAMES[] = {{SIGHUP, "HUP"},   {SIGINT, "INT"},   {SIGQUIT, "QUIT"}, {SIGILL, "ILL"},       {SIGTRAP, "TRAP"}, {SIGABRT, "ABRT"},
               {SIGBUS, "BUS"},   {SIGFPE, "FPE"},   {SIGKILL, "KILL"}, {SIGUSR1, "USR1"},     {SIGSEGV, "SEGV"}, {SIGUSR2, "USR2"},
               {SIGPIPE, "PIPE"}, {SIGALRM, "ALRM"}, {SIGTERM, "TERM"}, {SIGXCPU, "XCPU"},     {SIGXFSZ, "XFSZ"}, {SIGVTALRM, "VTALRM"},
               {SIGPROF, "PROF"}, {SIGIO, "IO"},     {SIGSYS, "SYS"}};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
    if (NAMES[i].number == number) return NAMES[i].name;
  return "";
}

static char *copy(struct text text) { return need(strndup(text.at, text.length)); }

static bool is_printable(const char *text) {
  for (; *text; text++)
    if (*text < ' ' || *text > '~') return false;
  return true;
}

// Returns the client's TERM if it can be a name of terminfo(5).
static char *term_of(const struct hello *hello) {
  char *term = copy(hello->term);
  bool possible = *term && *term != '.' && !strchr(term, '/') && is_printable(term);
  return possible ? term : need(strdup(FALLBACK_TERM));
}

static char *lang_of(const struct hello *hello) {
  char *lang = copy(hello->lang);
  size_t length = strlen(lang);
  bool utf8 = (length >= 5 && !strcasecmp(lang + length - 5, "utf-8")) || (length >= 4 && !strcasecmp(lang + length - 4, "utf8"));
  return utf8 && is_printable(lang) ? lang : need(strdup("C.UTF-8"));
}

// ---- In the kit.

// Becomes the same program as a login by ssh at a terminal. tmux is always the kit's own: the image's may be old and lack -T.
__attribute__((noreturn)) static void start_in_kit(const struct hello *hello, const char *name, const char *tty) {
  static const char *const STALE[] = {"LANG", "LC_ALL", "LC_CTYPE", "TMUX", "TMUX_PANE", "LINES", "COLUMNS"};
  for (size_t i = 0; i < sizeof STALE / sizeof *STALE; i++) unsetenv(STALE[i]);
  setenv("SSH_TTY", tty, 1);
  setenv("TERM", term_of(hello), 1);
  char *lang = lang_of(hello);
  setenv("LANG", locale_is_known(lang) ? lang : "C.UTF-8", 1);
  setenv("COLORTERM", "truecolor", 1);
  setenv("STAGEDOOR_TERMINAL", name, 1);
  char *command = copy(hello->command);
  if (tmux_is_requested(command)) {
    // Its defaults are in the kit's own tmux.conf, so a tmux that is started by ssh has them too.
    char *words[TMUX_WORDS];
    login_as(NULL, tmux_words(words, TOOLS "/tmux", NULL, name));
  }
  login_as(*command ? command : NULL, NULL);
}

// ---- Elsewhere.

// Returns whether this machine has a terminfo(5) description of `term`.
static bool is_known(const char *term) {
  const char *home = getenv("HOME"), *folders = getenv("TERMINFO_DIRS");
  char *own = format("%s/.terminfo", home ? home : "");
  char *all = format("%s:/etc/terminfo:/lib/terminfo:/usr/lib/terminfo:/usr/share/terminfo", folders ? folders : "");
  bool has_entry = has_terminal(getenv("TERMINFO"), term) || has_terminal(own, term);
  for (char *rest = all, *folder; !has_entry && (folder = strsep(&rest, ":"));) has_entry = has_terminal(folder, term);
  free(own);
  free(all);
  return has_entry;
}

static char *login_shell(void) {
  const struct passwd *account = getpwuid(getuid());  // an image may lack the account that it runs as
  const char *candidates[] = {getenv("SHELL"), account ? account->pw_shell : NULL, "/bin/bash"};
  for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
    if (candidates[i] && *candidates[i] == '/' && !access(candidates[i], X_OK)) return need(strdup(candidates[i]));
  return need(strdup("/bin/sh"));
}

static bool is_set(const char *name) {
  const char *value = getenv(name);
  return value && *value;
}

__attribute__((noreturn)) static void start_elsewhere(const struct hello *hello, const char *name) {
  static const char *const STALE[] = {"TMUX", "TMUX_PANE", "SSH_TTY", "LINES", "COLUMNS"};
  for (size_t i = 0; i < sizeof STALE / sizeof *STALE; i++) unsetenv(STALE[i]);
  char *term = term_of(hello);
  setenv("TERM", is_known(term) ? term : FALLBACK_TERM, 1);
  setenv("COLORTERM", "truecolor", 1);
  setenv("STAGEDOOR_TERMINAL", name, 1);
  if (!is_set("LC_ALL") && !is_set("LC_CTYPE") && !is_set("LANG")) setenv("LANG", lang_of(hello), 1);
  char *command = copy(hello->command), *shell = login_shell(), *base = strrchr(shell, '/') + 1;
  char *tmux = tmux_is_requested(command) ? find_program("tmux", is_set("PATH") ? getenv("PATH") : "/bin:/usr/bin") : NULL;
  char *defaults = tmux ? tmux_defaults(name, is_known(TMUX_TERM)) : NULL;
  const char *folder = getenv("STAGEDOOR_DIRECTORY");
  if (folder && *folder && chdir(folder)) die("cannot enter %s: %s", folder, strerror(errno));
  char *with_tmux[TMUX_WORDS], *with_command[] = {base, "-c", command, NULL}, *alone[] = {format("-%s", base), NULL};
  char **words = tmux ? tmux_words(with_tmux, "tmux", defaults, name) : *command && !tmux_is_requested(command) ? with_command : alone;
  execve(tmux ? tmux : shell, words, environ);
  die("%s cannot be started: %s", tmux ? tmux : shell, strerror(errno));
}

// Runs in the child: makes the terminal its controlling one, resets signals as for a login, and starts the program.
__attribute__((noreturn)) static void become(int slave, const struct hello *hello, const char *name) {
  setsid();
  ioctl(slave, TIOCSCTTY, 0);
  for (int fd = 0; fd < 3; fd++) dup2(slave, fd);
  for (int fd = 3; fd < 1024; fd++) close(fd);
  // The parent process may have ignored or blocked signals, and exec keeps that.
  reset_signals();
  char *tty = ttyname(0);
  if (environment_is_saved()) start_in_kit(hello, name, tty ? tty : "/dev/tty");
  start_elsewhere(hello, name);
}

// Starts what `hello` asks for. Returns false with errno set if that fails.
static bool spawn(const struct hello *hello) {
  int master, slave;
  struct termios modes;
  if (openpty(&master, &slave, NULL, NULL, NULL)) return false;
  set_size(master, hello->size);
  if (!tcgetattr(slave, &modes)) {
    modes.c_iflag |= IUTF8;  // so that backspace takes a whole character, as ssh's clients ask for
    tcsetattr(slave, TCSANOW, &modes);
  }
  fcntl(master, F_SETFD, FD_CLOEXEC);
  pid_t pid = fork();
  if (!pid) become(slave, hello, program.name);
  int error = errno;
  close(slave);
  if (pid < 0) {
    close(master);
    errno = error;
    return false;
  }
  fcntl(master, F_SETFL, O_NONBLOCK);
  program.pid = pid;
  program.fd = master;
  return true;
}

// Makes a full-screen program redraw its screen by changing the window's size and restoring it.
void terminal_redraw(struct size size) {
  if (size.rows < 2) return;
  size.rows--;
  terminal_resize(size);
  program.grow_at = now_ms() + REDRAW_MS;
}

// Returns whether a job that the program has started is in the foreground. tcgetpgrp(3) returns 0 until the program has
// made the terminal its controlling one, and -1 on errors. A session's first process leads its group.
bool terminal_is_busy(void) {
  if (!program.pid || program.ended) return false;
  pid_t group = tcgetpgrp(program.fd);
  return group > 0 && group != program.pid;
}

// Sets the name by which the kit's first process recognises a holder. A terminal that runs a command counts as working
// until it ends.
static void set_process_name(const struct hello *hello) {
  char *text = copy(hello->command);
  bool command = *text && !tmux_is_requested(text);
  free(text);
  char *name = format("%s: %s", command ? "command" : "terminal", program.name);
  prctl(PR_SET_NAME, name);
  free(name);
}

// Starts what the first client asks for. Returns NULL, or why it cannot be started.
const char *program_start(const struct hello *hello) {
  static char why[160];
  if (hello->mode == WATCH) return "this terminal has not begun yet";  // only its host starts it
  if (!spawn(hello)) {
    snprintf(why, sizeof why, "the terminal cannot be started: %s", strerror(errno));
    return why;
  }
  set_process_name(hello);
  return NULL;
}
