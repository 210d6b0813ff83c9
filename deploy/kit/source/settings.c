// Reads SHELL/settings: lines of KEY=VALUE, where VALUE is the rest of the line, literally (no quotes, no escapes).
//
// Unknown keys are ignored, so that a newer controller can write for an older kit. An invalid value ends the program
// with a message that names the key.
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kit.h"

#define FILE_NAME SHELL "/settings"

static long seconds(const char *key, const char *value) {
  char *end;
  errno = 0;
  long number = strtol(value, &end, 10);
  if (errno || end == value || *end || number < 0 || number > 31536000)
    die("%s: %s is '%s', and must be a number of seconds from 0 to 31536000", FILE_NAME, key, value);
  return number;
}

// Checks a value for a line of sshd's configuration: it must not add a line of its own.
static char *listen_list(const char *key, const char *value) {
  for (const char *c = value; *c; c++)
    if (!isalnum((unsigned char)*c) && !strchr(" .:*[]-", *c))
      die("%s: %s is '%s', and must be a list of [HOST:]PORT with spaces between, 'any' or 'none'", FILE_NAME,
          key, value);
  return need(strdup(value));
}

// Checks a value for a line of passwd(5).
static char *name(const char *key, const char *value) {
  for (const char *c = value; *c; c++)
    if (!isalnum((unsigned char)*c) && !(strchr("._-", *c) && c != value))
      die("%s: %s is '%s', and must be letters, digits, '.', '_' and '-'", FILE_NAME, key, value);
  return need(strdup(value));
}

struct settings settings_read(void) {
  struct settings found = {.login_name = "", .directory = "", .setup = "", .packages = "", .permit_listen = "none", .grace_s = 30};
  char *text = read_file(FILE_NAME, NULL);
  if (!text) text = read_file(SETTINGS_OF_RUN, NULL);
  if (!text) die("cannot read %s: %s; the pod needs the shell's ConfigMap mounted at " SHELL, FILE_NAME, strerror(errno));
  char *rest = text, *line;
  while ((line = strsep(&rest, "\n"))) {
    char *value = strchr(line, '=');
    if (*line == '#' || !value) continue;
    *value++ = 0;
    if (!strcmp(line, "STAGEDOOR_DIRECTORY")) found.directory = value;
    else if (!strcmp(line, "STAGEDOOR_SETUP")) found.setup = value;
    else if (!strcmp(line, "STAGEDOOR_PACKAGES")) found.packages = value;
    else if (!strcmp(line, "STAGEDOOR_LOGIN_NAME")) found.login_name = name(line, value);
    else if (!strcmp(line, "STAGEDOOR_PERMIT_LISTEN")) found.permit_listen = listen_list(line, value);
    else if (!strcmp(line, "STAGEDOOR_GRACE_S")) found.grace_s = seconds(line, value);
  }
  return found;
}
