// The environment of the app's container, kept as it was when the container started.
//
// sshd overwrites its own environment (it keeps its title there) and makes a new one for its sessions, and its option
// SetEnv can hold neither a newline nor 128 KiB. So the first process saves its environment to a file, byte for byte,
// with a NUL after each entry as in /proc/PID/environ (proc(5)), and each session reads that file.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

#define SAVED RUN "/environ"

void environment_save(char **environment) {
  size_t length = 0, at = 0;
  for (char **entry = environment; *entry; entry++) length += strlen(*entry) + 1;
  char *bytes = need(malloc(length + 1));
  for (char **entry = environment; *entry; entry++) {
    size_t size = strlen(*entry) + 1;
    memcpy(bytes + at, *entry, size);
    at += size;
  }
  write_file(SAVED, 0600, bytes, length);
  free(bytes);
}

struct strings environment_saved(void) {
  struct strings list = {0};
  size_t length;
  char *bytes = read_file(SAVED, &length);
  if (!bytes) die("the app's environment is gone: %s: %s; start the shell again", SAVED, strerror(errno));
  strings_add(&list, NULL);  // makes room, so that an empty list is one too
  list.count = 0;
  for (size_t at = 0; at < length; at += strlen(bytes + at) + 1) strings_add(&list, bytes + at);
  return list;
}

// Returns whether this is a shell's container, whose first process has saved its environment.
bool environment_is_saved(void) { return !access(SAVED, R_OK); }

static bool is_of(const char *entry, const char *name) {
  size_t length = strlen(name);
  return !strncmp(entry, name, length) && entry[length] == '=';
}

// Returns the value, or NULL. The first entry of that name counts, as for getenv(3).
const char *environment_get(const struct strings *list, const char *name) {
  for (size_t i = 0; i < list->count; i++)
    if (is_of(list->at[i], name)) return list->at[i] + strlen(name) + 1;
  return NULL;
}

void environment_set(struct strings *list, const char *name, const char *value) {
  char *entry = format("%s=%s", name, value);
  for (size_t i = 0; i < list->count; i++)
    if (is_of(list->at[i], name)) {
      list->at[i] = entry;
      return;
    }
  strings_add(list, entry);
}

// Sets each of `from` whose entry begins with `prefix`.
void environment_copy(struct strings *list, char **from, const char *prefix) {
  for (; *from; from++) {
    char *equals = strchr(*from, '=');
    if (!equals || !starts_with(*from, prefix)) continue;
    char *name = need(strndup(*from, (size_t)(equals - *from)));
    environment_set(list, name, equals + 1);
    free(name);
  }
}

// Removes each entry that begins with `prefix`.
void environment_unset(struct strings *list, const char *prefix) {
  size_t kept = 0;
  for (size_t i = 0; i < list->count; i++)
    if (!starts_with(list->at[i], prefix)) list->at[kept++] = list->at[i];
  list->count = kept;
  if (list->at) list->at[kept] = NULL;
}
