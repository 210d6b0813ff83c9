// The greeting that a person sees after a login at a terminal.
#include <stdio.h>
#include <stdlib.h>

#include "kit.h"

// Returns seconds in words: "45 s", "30 min", "2 h", "1 h 30 min".
char *duration(long seconds) {
  long hours = seconds / 3600, minutes = seconds % 3600 / 60;
  if (seconds < 120) return format("%ld s", seconds);
  if (!hours) return format("%ld min", minutes);
  if (!minutes) return format("%ld h", hours);
  return format("%ld h %ld min", hours, minutes);
}

// Prints text without control characters, except tabs and line ends.
static void print_plain(const char *text) {
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '\n') putchar('\n');
    else if (c == '\t' || (c >= ' ' && c != 127)) putchar(c);
  }
}

static void print_line(const char *name, const char *value) {
  if (!*value) return;
  printf("  %-12s ", name);
  print_plain(value);
  putchar('\n');
}

// Prints the controller's text, which follows the app's settings, or without one a text made from the settings.
void motd_print(void) {
  char *text = read_file(SHELL "/motd", NULL);
  putchar('\n');
  if (text && *text) {
    print_plain(text);
  } else {
    struct settings settings = settings_read();
    puts("This is a shell with the app's image and settings. It serves no traffic.");
    print_line("app", settings.app);
    print_line("environment", settings.environment);
    print_line("image", settings.image);
    char *words = duration(settings.idle_stop_s);
    char *line = format("%s after the last session; what is not on a volume is gone then", words);
    if (settings.idle_stop_s) print_line("stops", line);
    free(line);
    free(words);
  }
  putchar('\n');
  free(text);
  fflush(stdout);
}
