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

// Prints the controller's text.
void motd_print(void) {
  char *text = read_file(SHELL "/motd", NULL);
  if (!text) return;
  putchar('\n');
  print_plain(text);
  putchar('\n');
  free(text);
  fflush(stdout);
}
