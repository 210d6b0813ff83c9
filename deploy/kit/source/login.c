// The login shell: what sshd starts for a shell, a command, sftp, scp and rsync alike.
//
// It puts the app's environment back, goes to the container's working directory and becomes what was asked for.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

extern char **environ;

// Characters of a command that mean nothing to a shell.
#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:@%+,= "

// When memory runs out, the kernel ends a session's process before sshd or the first process: raising the score is
// everybody's right (proc_pid_oom_score_adj(5)), and children inherit it.
static void go_first_when_memory_ends(void) {
  int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  ssize_t ignored = write(file, "1000", 4);
  (void)ignored;
  close(file);
}

static void go_to_work(const struct strings *environment) {
  char *folder = read_file(RUN "/directory", NULL);
  if (folder && !chdir(folder)) return;
  const char *home = environment_get(environment, "HOME");
  if (home && !chdir(home)) return;
  if (chdir("/")) die("cannot enter /: %s", strerror(errno));
}

static bool has(const char *entry, const struct strings *list) {
  char *name = need(strndup(entry, strcspn(entry, "=")));
  bool found = environment_get(list, name) != NULL;
  free(name);
  return found;
}

// What the client's side adds to the app's environment. The app's own values stand, save for what describes
// this very session.
static void add_session(struct strings *environment) {
  environment_copy(environment, environ, "SSH_");
  environment_copy(environment, environ, "STAGEDOOR_TERMINAL=");
  for (char **entry = environ; *entry; entry++) {
    bool locale = starts_with(*entry, "LANG=") || starts_with(*entry, "LC_");
    if (!locale && !starts_with(*entry, "COLORTERM=")) continue;
    if (has(*entry, environment)) continue;
    if (locale && !locale_is_known(strchr(*entry, '=') + 1)) continue;
    strings_add(environment, *entry);
  }
  const char *terminal = getenv("TERM");
  if (terminal && getenv("SSH_TTY")) {
    environment_set(environment, "TERM", terminal);
    choose_terminal(environment);
  }
}

// Where programs are that the image does not bring: those of the packages image, and the kit's.
static char *more_programs(void) {
  struct settings settings = settings_read();
  if (!*settings.packages) return need(strdup(TOOLS ":" APPLETS));
  return format("%1$s/bin:%1$s/usr/bin:%1$s/usr/local/bin:" TOOLS ":" APPLETS, settings.packages);
}

static void add_to_path(struct strings *environment, const char *more) {
  const char *path = environment_get(environment, "PATH");
  char *longer = format("%s:%s", path ? path : "/usr/local/bin:/usr/bin:/bin", more);
  environment_set(environment, "PATH", longer);
  free(longer);
}

// What a person at a prompt expects besides. A command gets none of it.
static void add_comfort(struct strings *environment, const char *shell) {
  char *name = account_name();
  if (!environment_get(environment, "USER")) environment_set(environment, "USER", name);
  if (!environment_get(environment, "LOGNAME")) environment_set(environment, "LOGNAME", name);
  if (!environment_get(environment, "HOME")) environment_set(environment, "HOME", "/");
  if (!environment_get(environment, "SHELL")) environment_set(environment, "SHELL", shell);
  if (!environment_get(environment, "LANG") && !environment_get(environment, "LC_ALL"))
    environment_set(environment, "LANG", "C.UTF-8");
  free(name);
}

static void become(const char *program, char **argv, struct strings *environment) {
  execve(program, argv, environment->at);
}

// A command of plain words whose first is a program needs no shell, and without one its environment is exactly the
// app's: shells add PWD, SHLVL and _. Returns if a shell must do it after all.
static void run_directly(const char *command, struct strings *environment) {
  if (strspn(command, PLAIN) != strlen(command)) return;
  struct strings words = {0};
  char *rest = need(strdup(command)), *word;
  while ((word = strsep(&rest, " ")))
    if (*word) strings_add(&words, word);
  if (!words.count || strchr(words.at[0], '=')) return;
  char *program = strchr(words.at[0], '/') ? words.at[0] : find_program(words.at[0], environment_get(environment, "PATH"));
  if (program) become(program, words.at, environment);
}

// scp, rsync and others name a program of theirs, which an image may lack and the kit may have.
static bool lacks_its_program(const char *command, const struct strings *environment, const char *more) {
  char *word = need(strndup(command, strcspn(command, " ")));
  bool plain = *word && strspn(word, PLAIN) == strlen(word) && !strchr(word, '/');
  bool lacks = plain && !find_program(word, environment_get(environment, "PATH")) && find_program(word, more);
  free(word);
  return lacks;
}

// Becomes the command, or what a person at a prompt gets: a shell, or the program `instead` (its words), unless NULL.
void login_as(const char *command, char **instead) {
  go_first_when_memory_ends();
  struct strings environment = environment_saved();
  add_session(&environment);
  go_to_work(&environment);
  char *shell = find_shell(&environment);
  bool own = starts_with(shell, APPLETS);  // the image has no shell, and so hardly a program to call
  char *more = more_programs();
  bool longer = !command || own || lacks_its_program(command, &environment, more);
  if (longer) add_to_path(&environment, more);
  if (command) {
    run_directly(command, &environment);
    // A shell must do it, which adds to the environment itself: the later words of its line may name our programs.
    if (!longer) add_to_path(&environment, more);
  } else {
    add_comfort(&environment, shell);
    if (instead) become(*instead, instead, &environment);
    if (getenv("SSH_TTY") && isatty(STDOUT_FILENO)) motd_print();
  }
  // No login shell of the shell's own kind: /etc/profile would set PATH again, and so hide what the image installs.
  static const char *const LAST_RESORT = APPLETS "/sh";
  for (;;) {
    char *name = strrchr(shell, '/') + 1;
    char *words[] = {name, command ? "-c" : NULL, (char *)command, NULL};
    become(shell, words, &environment);
    if (!strcmp(shell, LAST_RESORT)) die("cannot start %s: %s", shell, strerror(errno));
    shell = need(strdup(LAST_RESORT));
  }
}

int login_main(int argc, char **argv) {
  const char *command = argc >= 3 && !strcmp(argv[1], "-c") ? argv[2] : NULL;
  if (argc > 1 && !command) die("the login shell takes -c COMMAND or nothing");
  login_as(command, NULL);
}
