// Fills the volume from which the app's container gets the kit: `copy FOLDER` in the kit's own image.
//
// With --and-stay it then waits until it is told to end, for a container that must live as long as the pod.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit.h"

static void copy_file(int from_folder, int to_folder, const char *name, const struct stat *status) {
  int from = openat(from_folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  unlinkat(to_folder, name, 0);  // a second copy, after the container was started anew
  int to = openat(to_folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, status->st_mode & 0777);
  if (from < 0 || to < 0) die("cannot copy %s: %s", name, strerror(errno));
  for (off_t left = status->st_size; left > 0;) {
    ssize_t sent = sendfile(to, from, NULL, (size_t)left);
    if (sent <= 0) die("cannot copy %s: %s", name, sent ? strerror(errno) : "it became shorter");
    left -= sent;
  }
  if (fchmod(to, status->st_mode & 0777) || close(to)) die("cannot copy %s: %s", name, strerror(errno));
  close(from);
}

static void copy_folder(int from, int to, bool top) {
  DIR *folder = fdopendir(from);
  if (!folder) die("cannot read a folder of the kit: %s", strerror(errno));
  for (struct dirent *entry; (entry = readdir(folder));) {
    const char *name = entry->d_name;
    struct stat status;
    if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
    if (top && !strcmp(name, "doc")) continue;  // the licences stay in the image; they are no use in the shell
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW)) die("cannot copy %s: %s", name, strerror(errno));
    if (S_ISDIR(status.st_mode)) {
      if (mkdirat(to, name, 0755) && errno != EEXIST) die("cannot make %s: %s", name, strerror(errno));
      int inner_from = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      int inner_to = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (inner_from < 0 || inner_to < 0) die("cannot copy %s: %s", name, strerror(errno));
      copy_folder(inner_from, inner_to, false);
    } else if (S_ISLNK(status.st_mode)) {
      char target[512];
      ssize_t length = readlinkat(from, name, target, sizeof target - 1);
      if (length < 0) die("cannot copy %s: %s", name, strerror(errno));
      target[length] = 0;
      unlinkat(to, name, 0);
      if (symlinkat(target, to, name)) die("cannot copy %s: %s", name, strerror(errno));
    } else if (S_ISREG(status.st_mode)) {
      copy_file(from, to, name, &status);
    }
  }
  closedir(folder);
  close(to);
}

int copy_main(int argc, char **argv) {
  bool stay = argc == 3 && !strcmp(argv[1], "--and-stay");
  if (argc != 2 + stay) die("usage: copy [--and-stay] FOLDER");
  const char *target = argv[1 + stay];
  int from = open(KIT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int to = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (from < 0) die("cannot read " KIT ": %s; this program runs in the kit's own image", strerror(errno));
  if (to < 0) die("cannot enter %s: %s", target, strerror(errno));
  copy_folder(from, to, true);
  if (!stay) return 0;
  puts("stagedoor: the kit is there");
  fflush(stdout);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, NULL);
  int signal;
  return sigwait(&ends, &signal) ? 1 : 0;
}
