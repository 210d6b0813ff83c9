// The kit's tools, and the shell in the panes of its tmux.
//
// A tool has its own libraries. The app's variables about libraries are for the image's programs, which may use another
// libc: they are removed from the tool's environment, and restored for programs in a tmux pane.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

extern char **environ;

static const char *const LIBRARIES[] = {"LD_", "LOCPATH=", "GCONV_PATH="};
#define COUNT (sizeof LIBRARIES / sizeof *LIBRARIES)

static struct strings own_environment(void) {
  struct strings list = {0};
  for (char **entry = environ; *entry; entry++) strings_add(&list, *entry);
  return list;
}

static bool speaks_utf8(const struct strings *environment) {
  static const char *const NAMES[] = {"LC_ALL", "LC_CTYPE", "LANG"};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    const char *value = environment_get(environment, NAMES[i]);
    if (value && *value) return strcasestr(value, "UTF-8") || strcasestr(value, "UTF8");
  }
  return false;
}

int tool_main(int argc, char **argv) {
  (void)argc;
  const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
  struct strings environment = own_environment(), words = {0};
  for (size_t i = 0; i < COUNT; i++) environment_unset(&environment, LIBRARIES[i]);
  strings_add(&words, argv[0]);
  if (!strcmp(name, "tmux")) {
    // tmux keeps its socket in /tmp, which is not writable where the root file system is not.
    if (!environment_get(&environment, "TMUX_TMPDIR") && access("/tmp", W_OK))
      environment_set(&environment, "TMUX_TMPDIR", RUN);
    if (!speaks_utf8(&environment)) strings_add(&words, "-u");
  }
  for (char **word = argv + 1; *word; word++) strings_add(&words, *word);
  char *program = format(LIBEXEC "/%s", name);
  execve(program, words.at, environment.at);
  die("cannot start %s: %s", program, strerror(errno));
}

int pane_main(int argc, char **argv) {
  struct strings environment = own_environment(), saved = environment_saved();
  for (size_t i = 0; i < COUNT; i++) environment_copy(&environment, saved.at, LIBRARIES[i]);
  choose_terminal(&environment);
  char *shell = find_shell(&environment);
  environment_set(&environment, "SHELL", shell);
  const char *command = argc >= 3 && !strcmp(argv[1], "-c") ? argv[2] : NULL;
  char *words[] = {strrchr(shell, '/') + 1, command ? "-c" : NULL, (char *)command, NULL};
  execve(shell, words, environment.at);
  die("cannot start %s: %s", shell, strerror(errno));
}
