// A library that the kit's own glibc programs are linked to by the build (patchelf --add-needed), so that it answers
// before the C library does. It is not preloaded, so no session's environment contains it.
//
// OpenSSH looks up the account in passwd(5), where the image may have no line for the uid that the pod runs as. This
// library answers for every login name with the account in RUN/passwd, which `start` wrote: it is the only one that an
// sshd without privileges can serve. Only keys and certificates decide who may log in.
//
// With -DSSHD it also hides root from sshd: a container's root often has no capabilities, and sshd as root would
// call chroot, change groups and look for an account of its own, and fail. It needs none of that, since it
// and its sessions have one uid. Rights do not change: the kernel decides by the real uid.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE "/run/stagedoor/passwd"
#define NOT_ROOT 65534

static char line[512];
static struct passwd account;

static uid_t real_uid(void) { return (uid_t)syscall(SYS_getuid); }

static uid_t shown(uid_t uid) {
#ifdef SSHD
  return uid ? uid : NOT_ROOT;
#else
  return uid;
#endif
}

// Returns the account, or NULL. It is cached, because sshd's later processes may no longer open files.
static struct passwd *the_account(void) {
  if (account.pw_name) return &account;
  int file = open(LINE, O_RDONLY | O_CLOEXEC);
  if (file < 0) return NULL;
  ssize_t length = read(file, line, sizeof line - 1);
  close(file);
  if (length <= 0) return NULL;
  line[length] = 0;
  char *rest = line, *field[7];
  for (int i = 0; i < 7; i++)
    if (!(field[i] = strsep(&rest, i < 6 ? ":" : "\n"))) return NULL;
  account.pw_passwd = field[1];
  account.pw_uid = shown((uid_t)strtoul(field[2], NULL, 10));
  account.pw_gid = (gid_t)strtoul(field[3], NULL, 10);
  account.pw_gecos = field[4];
  account.pw_dir = field[5];
  account.pw_shell = field[6];
  account.pw_name = field[0];
  return &account;
}

struct passwd *getpwnam(const char *name) {
  (void)name;
  struct passwd *found = the_account();
  if (!found) errno = ENOENT;
  return found;
}

struct passwd *getpwuid(uid_t uid) {
  if (uid == shown(real_uid())) return getpwnam("");
  // Other uids, as in the listing of a folder, come from the image's files.
  struct passwd *(*next)(uid_t) = (struct passwd * (*)(uid_t)) dlsym(RTLD_NEXT, "getpwuid");
  return next ? next(uid) : NULL;
}

#ifdef SSHD
uid_t getuid(void) { return shown(real_uid()); }
uid_t geteuid(void) { return shown((uid_t)syscall(SYS_geteuid)); }

// Does nothing: a terminal already belongs to the process that opened it. sshd would also give it the group tty, which
// needs a privilege.
int chown(const char *path, uid_t owner, gid_t group) {
  if (!strncmp(path, "/dev/pts/", 9)) return 0;
  return (int)syscall(SYS_fchownat, AT_FDCWD, path, owner, group, 0);
}
#endif
