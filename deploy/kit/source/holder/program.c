// The program in the terminal: its start, and its window.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../kit.h"
#include "holder.h"

#define REDRAW_MS 60   // how long a window stays one row smaller, so that a program which checks at once sees the change

struct program program;

void terminal_resize(struct size size) {
  if (program.child.pid && !program.ended) set_size(program.child.fd, size);
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
  if (!program.child.pid || program.ended) return false;
  pid_t group = tcgetpgrp(program.child.fd);
  return group > 0 && group != program.child.pid;
}

// Sets the name by which the kit's first process recognises a holder. A terminal that runs a command counts as working
// until it ends.
static void say_what_we_are(const struct hello *hello) {
  bool command = hello->command.length && !(hello->command.length == 4 && !memcmp(hello->command.at, "tmux", 4));
  char *name = format("%s: %s", command ? "command" : "terminal", program.name);
  prctl(PR_SET_NAME, name);
  free(name);
}

// Starts what the first client asks for. Returns NULL, or why it cannot be started.
const char *program_start(const struct hello *hello) {
  static char why[160];
  if (hello->mode == WATCH) return "this terminal has not begun yet";  // only its host starts it
  if (!spawn(hello, program.name, &program.child)) {
    snprintf(why, sizeof why, "the terminal cannot be started: %s", strerror(errno));
    return why;
  }
  say_what_we_are(hello);
  return NULL;
}
