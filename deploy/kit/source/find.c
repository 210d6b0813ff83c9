// Looks up programs, shells, terminal descriptions and locales in the image.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit.h"

static bool is_program(const char *path) {
  struct stat status;
  return !stat(path, &status) && S_ISREG(status.st_mode) && !access(path, X_OK);
}

// Returns the first such program in `path` (as PATH), or NULL.
char *find_program(const char *name, const char *path) {
  if (!path) return NULL;
  for (const char *from = path;; from++) {
    size_t length = strcspn(from, ":");
    char *candidate = length ? format("%.*s/%s", (int)length, from, name) : format("./%s", name);
    if (is_program(candidate)) return candidate;
    free(candidate);
    from += length;
    if (!*from) return NULL;
  }
}

// Returns the image's bash, else its sh, else the kit's. Never NULL.
char *find_shell(const struct strings *environment) {
  static const char *const NAMES[] = {"bash", "sh"};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    char *shell = find_program(NAMES[i], environment_get(environment, "PATH"));
    if (!shell) shell = find_program(NAMES[i], "/bin:/usr/bin:/usr/local/bin");
    if (shell) return shell;
  }
  return need(strdup(APPLETS "/sh"));
}

// Returns whether a folder of terminfo(5) has the terminal: below its first letter, or below that letter's code.
bool has_terminal(const char *folder, const char *name) {
  if (!folder || !*folder) return false;
  char *plain = format("%s/%c/%s", folder, *name, name);
  char *coded = format("%s/%x/%s", folder, (unsigned char)*name, name);
  bool found = !access(plain, R_OK) || !access(coded, R_OK);
  free(plain);
  free(coded);
  return found;
}

// Sets TERM to one that the image's programs can find: in the image's own descriptions, else in the kit's through
// TERMINFO_DIRS (ncurses(3X): an empty name there means the folders compiled in). A terminal that has no description in
// either becomes xterm-256color, which new terminals understand.
void choose_terminal(struct strings *environment) {
  const char *name = environment_get(environment, "TERM");
  if (!name || !*name || strchr(name, '/')) return;
  static const char *const FOLDERS[] = {"/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo",
                                        "/usr/lib/terminfo", "/usr/local/share/terminfo"};
  for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++)
    if (has_terminal(FOLDERS[i], name)) return;
  if (has_terminal(environment_get(environment, "TERMINFO"), name)) return;
  if (!has_terminal(TERMINFO, name)) environment_set(environment, "TERM", "xterm-256color");
  const char *folders = environment_get(environment, "TERMINFO_DIRS");
  if (folders && strstr(folders, TERMINFO)) return;
  char *longer = format("%s:" TERMINFO, folders ? folders : "");
  environment_set(environment, "TERMINFO_DIRS", longer);
  free(longer);
}

// Returns whether the image has the locale, so that its programs do not complain about it.
bool locale_is_known(const char *name) {
  if (!strcmp(name, "C") || !strcmp(name, "POSIX") || !strcasecmp(name, "C.UTF-8") || !strcasecmp(name, "C.utf8"))
    return true;
  if (!*name || strchr(name, '/')) return false;
  // glibc's folder is en_US.utf8 where the name is en_US.UTF-8.
  char folder[128] = "/usr/lib/locale/";
  size_t at = strlen(folder);
  bool codeset = false;
  for (const char *c = name; *c && at < sizeof folder - 1; c++) {
    if (*c == '.') codeset = true;
    if (*c == '@') codeset = false;
    if (codeset && *c == '-') continue;
    folder[at++] = codeset ? (char)tolower((unsigned char)*c) : *c;
  }
  folder[at] = 0;
  if (!access(folder, R_OK)) return true;
  // The archive contains the names as plain text.
  size_t length = 0;
  char *archive = read_file("/usr/lib/locale/locale-archive", &length);
  bool found = archive && memmem(archive, length, folder + 16, strlen(folder + 16) + 1);
  free(archive);
  return found;
}
