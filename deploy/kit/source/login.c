// The login shell: what sshd starts for a shell, a command, sftp, scp and rsync alike.
//
// It restores the app's environment, enters the container's working directory and becomes the requested program.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

extern char **environ;

// Characters that have no special meaning to a shell.
#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:@%+,= "

// Makes the kernel end this session's processes before sshd and the first process when memory runs out. Any process may
// raise its own score (proc_pid_oom_score_adj(5)), and children inherit it.
static void prefer_for_oom_kill(void) {
  int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  ssize_t ignored = write(file, "1000", 4);
  (void)ignored;
  close(file);
}

static void enter_directory(const struct strings *environment) {
  char *folder = read_file(RUN "/directory", NULL);
  if (folder && !chdir(folder)) return;
  const char *home = environment_get(environment, "HOME");
  if (home && !chdir(home)) return;
  if (chdir("/")) die("cannot enter /: %s", strerror(errno));
}

static bool has_name_of(const char *entry, const struct strings *list) {
  char *name = need(strndup(entry, strcspn(entry, "=")));
  bool found = environment_get(list, name) != NULL;
  free(name);
  return found;
}

// Adds the client's variables to the app's environment. The app's own values take precedence, except for variables that
// describe this session.
static void add_session(struct strings *environment) {
  environment_copy(environment, environ, "SSH_");
  environment_copy(environment, environ, "STAGEDOOR_TERMINAL=");
  for (char **entry = environ; *entry; entry++) {
    bool locale = starts_with(*entry, "LANG=") || starts_with(*entry, "LC_");
    if (!locale && !starts_with(*entry, "COLORTERM=")) continue;
    if (has_name_of(*entry, environment)) continue;
    if (locale && !locale_is_known(strchr(*entry, '=') + 1)) continue;
    strings_add(environment, *entry);
  }
  const char *terminal = getenv("TERM");
  if (terminal && getenv("SSH_TTY")) {
    environment_set(environment, "TERM", terminal);
    choose_terminal(environment);
  }
}

// Returns the folders (as PATH) of programs that come from the packages image and from the kit.
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

// Adds the variables that a person at a prompt expects besides. A command gets none of them.
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

// Runs a command of plain words, whose first is a program, without a shell. Its environment is then exactly the app's:
// shells add PWD, SHLVL and _. Returns if the command needs a shell.
static void run_directly(const char *command, struct strings *environment) {
  if (strspn(command, PLAIN) != strlen(command)) return;
  struct strings words = {0};
  char *rest = need(strdup(command)), *word;
  while ((word = strsep(&rest, " ")))
    if (*word) strings_add(&words, word);
  if (!words.count || strchr(words.at[0], '=')) return;
  char *program = strchr(words.at[0], '/') ? words.at[0] : find_program(words.at[0], environment_get(environment, "PATH"));
  if (program) execve(program, words.at, environment->at);
}

// Returns whether the image lacks the command's program and `more` has it: scp, rsync and others start their own program
// on this side.
static bool lacks_program(const char *command, const struct strings *environment, const char *more) {
  char *word = need(strndup(command, strcspn(command, " ")));
  bool plain = *word && strspn(word, PLAIN) == strlen(word) && !strchr(word, '/');
  bool lacks = plain && !find_program(word, environment_get(environment, "PATH")) && find_program(word, more);
  free(word);
  return lacks;
}

// Prints the controller's text without control characters, except tabs and line ends.
static void print_greeting(void) {
  char *text = read_file(SHELL "/motd", NULL);
  if (!text) return;
  putchar('\n');
  for (const char *c = text; *c; c++)
    if (*c == '\n' || *c == '\t' || !is_control(*c)) putchar(*c);
  putchar('\n');
  free(text);
  fflush(stdout);
}

// Becomes `command`. If that is NULL, becomes the program `instead` (its words), or a shell if that is NULL too.
void login_as(const char *command, char **instead) {
  prefer_for_oom_kill();
  struct strings environment = environment_saved();
  add_session(&environment);
  enter_directory(&environment);
  char *shell = find_shell(&environment);
  bool own = starts_with(shell, APPLETS);  // the image has no shell, and so hardly any programs
  char *more = more_programs();
  bool longer = !command || own || lacks_program(command, &environment, more);
  if (longer) add_to_path(&environment, more);
  if (command) {
    run_directly(command, &environment);
    // The command needs a shell, which adds to the environment itself: later words of the line may name the kit's programs.
    if (!longer) add_to_path(&environment, more);
  } else {
    add_comfort(&environment, shell);
    if (instead) execve(*instead, instead, environment.at);
    if (getenv("SSH_TTY") && isatty(STDOUT_FILENO)) print_greeting();
  }
  // Start the shell as no login shell: /etc/profile would set PATH again, and so hide what the image installs.
  static const char *const LAST_RESORT = APPLETS "/sh";
  for (;;) {
    char *name = strrchr(shell, '/') + 1;
    char *words[] = {name, command ? "-c" : NULL, (char *)command, NULL};
    execve(shell, words, environment.at);
    if (!strcmp(shell, LAST_RESORT)) die("cannot start %s: %s", shell, strerror(errno));
    shell = need(strdup(LAST_RESORT));
  }
}

int login_main(int argc, char **argv) {
  const char *command = argc >= 3 && !strcmp(argv[1], "-c") ? argv[2] : NULL;
  if (argc > 1 && !command) die("the login shell takes -c COMMAND or nothing");
  login_as(command, NULL);
}
