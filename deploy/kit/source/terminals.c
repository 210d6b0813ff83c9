// Messages to all open terminals.
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

// Writes `message` to each terminal. A terminal of a tmux client is left out: tmux would paint over it, and its panes are
// terminals of their own. A terminal that accepts no output (Ctrl-S) is skipped without waiting.
void terminals_tell(const struct census *census, const char *message) {
  DIR *folder = opendir("/dev/pts");
  if (!folder) return;
  char *text = format("\r\n\a%s\r\n", message);
  for (struct dirent *entry; (entry = readdir(folder));) {
    char *end;
    unsigned long number = strtoul(entry->d_name, &end, 10);
    if (end == entry->d_name || *end) continue;
    if (number < sizeof census->tmux_on && census->tmux_on[number]) continue;
    char *path = format("/dev/pts/%s", entry->d_name);
    int terminal = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    free(path);
    if (terminal < 0) continue;
    ssize_t ignored = write(terminal, text, strlen(text));
    (void)ignored;
    close(terminal);
  }
  free(text);
  closedir(folder);
}
