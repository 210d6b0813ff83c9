// Runs the function for the name that the program was called by: KIT/bin/NAME or KIT/tools/NAME, all links to this one
// program.
#include <string.h>

#include "kit.h"

static const struct {
  const char *name;
  int (*main)(int argc, char **argv);
} NAMES[] = {
    {"start", start_main},       // the container's first process
    {"login", login_main},       // the login shell that sshd starts
    {"pane", pane_main},         // the shell that the kit's tmux starts
    {"hold", hold_main},         // the holder of terminals for the WebShell (holder/)
    {"tunnels", tunnels_main},   // the endpoint of resumable tunnels on a server that is no pod (tunnel/)
    {"task", task_main},         // the first process of a run's container
    {"copy", copy_main},         // in the kit's own container: fill the volume
    {"tmux", tool_main},         // the kit's tools, kept apart from the image's libraries
    {"rsync", tool_main},
    {"scp", tool_main},
    {"sftp-server", tool_main},
};

int main(int argc, char **argv) {
  const char *name = argc > 0 ? argv[0] : "";
  const char *slash = strrchr(name, '/');
  if (slash) name = slash + 1;
  if (*name == '-') name++;  // a login shell's name begins with a dash
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
    if (!strcmp(name, NAMES[i].name)) return NAMES[i].main(argc, argv);
  die("the kit has no program called %s", name);
}
