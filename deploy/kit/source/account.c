// The account of the sessions: the uid that the container runs as, with the name that the image gives it.
//
// This file writes the account to RUN/passwd, as a line of passwd(5). passwd.c, which the kit's sshd is linked to, reads
// it there. Only the name comes from the image's own files. If the image does not know the uid and its /etc/passwd is
// writable (as in images made for arbitrary uids), the line is added there too, so that whoami and ~ work.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

#define LINE RUN "/passwd"
#define IMAGE "/etc/passwd"

// Returns the name that passwd(5) gives the uid, or NULL.
static char *name_of(uid_t uid, bool *known_name, const char *wanted) {
  char *text = read_file(IMAGE, NULL), *rest = text, *line, *found = NULL;
  while (text && (line = strsep(&rest, "\n"))) {
    char *name = strsep(&line, ":");
    if (line && !strcmp(name, wanted)) *known_name = true;
    char *number = line ? (strsep(&line, ":"), strsep(&line, ":")) : NULL;
    char *end;
    if (!found && number && *number && strtoul(number, &end, 10) == uid && !*end) found = need(strdup(name));
  }
  free(text);
  return found;
}

void account_write(const struct settings *settings) {
  uid_t uid = getuid();
  const char *wanted = *settings->login_name ? settings->login_name : "app";
  bool taken = false;
  char *name = name_of(uid, &taken, wanted);
  const char *home = getenv("HOME");
  if (!home || *home != '/' || strpbrk(home, ":\n")) home = "/";
  if (!name) {
    name = need(strdup(wanted));
    char *line = format("%s:x:%u:%u::%s:/bin/sh\n", name, uid, getgid(), home);
    // Append in one write: the image's lines stay as they are, and a name that it uses is not used twice.
    int file = taken ? -1 : open(IMAGE, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file >= 0) {
      if (write(file, line, strlen(line)) < 0) say("cannot add %s to " IMAGE, name);
      close(file);
    }
    free(line);
  }
  // sshd enters the home folder and complains if it is missing; login.c enters the right one later.
  char *line = format("%s:x:%u:%u::/:" KIT "/bin/login\n", name, uid, getgid());
  write_file(LINE, 0600, line, strlen(line));
  free(line);
  free(name);
}

// Returns the login name that account_write chose.
char *account_name(void) {
  char *line = read_file(LINE, NULL);
  if (!line) return need(strdup("app"));
  line[strcspn(line, ":")] = 0;
  return line;
}
