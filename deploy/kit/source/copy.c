// Fills the volume from which the app's container gets the kit: `copy FOLDER` in the kit's own image.
//
// With --and-stay it then waits for SIGTERM or SIGINT, for a container that must live as long as the pod;
// `copy --wait FOLDER` beside it returns once the folder is filled.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kit.h"

#define FILLED ".filled"

static void copy_file(int from_folder, int to_folder, const char *name, const struct stat *status) {
  int from = openat(from_folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  unlinkat(to_folder, name, 0);  // an incomplete copy of a container that was restarted
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

// Copies a symbolic link as a hard link to the file that it names, if that is there. Most of the kit's names are such
// links, and on some disks making an inode takes ten times as long as copying a small file.
static void copy_link(int from_folder, int to_folder, const char *name) {
  char target[512];
  struct stat status;
  ssize_t length = readlinkat(from_folder, name, target, sizeof target - 1);
  if (length < 0) die("cannot copy %s: %s", name, strerror(errno));
  target[length] = 0;
  unlinkat(to_folder, name, 0);
  bool file = !fstatat(to_folder, target, &status, AT_SYMLINK_NOFOLLOW) && S_ISREG(status.st_mode);
  if (file && !linkat(to_folder, target, to_folder, name, 0)) return;
  if (symlinkat(target, to_folder, name)) die("cannot copy %s: %s", name, strerror(errno));
}

// Copies a folder: with `links` only its symbolic links, else all but these. The links come after the files they name.
static void copy_folder(int from, int to, bool top, bool links) {
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
      copy_folder(inner_from, inner_to, false, links);
    } else if (S_ISLNK(status.st_mode)) {
      if (links) copy_link(from, to, name);
    } else if (S_ISREG(status.st_mode) && !links) {
      copy_file(from, to, name, &status);
    }
  }
  closedir(folder);
  close(to);
}

static int folder_of(const char *path) {
  int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) die("cannot enter %s: %s", path, strerror(errno));
  return folder;
}

static void fill(const char *target) {
  if (access(KIT, R_OK)) die("cannot read " KIT ": %s; this program runs in the kit's own image", strerror(errno));
  int there = folder_of(target);
  bool filled_before = !faccessat(there, FILLED, F_OK, 0);
  close(there);
  if (filled_before) return;  // the container was restarted, beside a shell that uses the files
  copy_folder(folder_of(KIT), folder_of(target), true, false);
  copy_folder(folder_of(KIT), folder_of(target), true, true);
  int folder = folder_of(target), filled = openat(folder, FILLED, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
  if (filled < 0) die("cannot write to %s: %s", target, strerror(errno));
  close(filled);
  close(folder);
}

// Waits until the folder is filled. If the copying container fails, this one ends with it.
static int wait_for(const char *target) {
  int folder = folder_of(target);
  while (faccessat(folder, FILLED, F_OK, 0)) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
  return 0;
}

int copy_main(int argc, char **argv) {
  const char *how = argc == 3 ? argv[1] : "";
  bool stay = !strcmp(how, "--and-stay"), waits = !strcmp(how, "--wait");
  if (argc != 2 + (stay || waits)) die("usage: copy [--and-stay | --wait] FOLDER");
  const char *target = argv[argc - 1];
  if (waits) return wait_for(target);
  fill(target);
  if (!stay) return 0;
  puts("stagedoor: the kit has been copied");
  fflush(stdout);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, NULL);
  int signal;
  return sigwait(&ends, &signal) ? 1 : 0;
}
