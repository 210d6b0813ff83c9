// OpenSSH's sshd: its configuration, its keys, and how it is started.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit.h"

#define KEY "ssh_host_ed25519_key"
#define CERTIFICATE KEY "-cert.pub"
#define CONFIGURATION RUN "/sshd_config"

// sshd_config(5). Options that are not listed have OpenSSH's defaults.
static const char FIXED[] =
    "PidFile none\n"
    "SshdSessionPath " KIT "/bin/sshd-session\n"
    "SshdAuthPath " KIT "/bin/sshd-auth\n"
    "HostKey " RUN "/" KEY "\n"
    // sshd accepts a certificate of the user CA for a listed principal, or a listed key, and never a password. It reads
    // these files at each login, since they change while the shell runs.
    "AuthenticationMethods publickey\n"
    "PasswordAuthentication no\n"
    "KbdInteractiveAuthentication no\n"
    "TrustedUserCAKeys " SHELL "/user_ca.pub\n"
    "AuthorizedPrincipalsFile " SHELL "/authorized_principals\n"
    "AuthorizedKeysFile " SHELL "/authorized_keys\n"
    "RevokedKeys " SHELL "/revoked_keys\n"
    // The kubelet chooses the owner of the files, and there is no PAM without root.
    "StrictModes no\n"
    "UsePAM no\n"
    "PermitRootLogin yes\n"
    "LoginGraceTime 30\n"
    "MaxAuthTries 20\n"  // each key of an agent is one try
    "MaxStartups 100:30:500\n"
    "MaxSessions 256\n"
    // All connections come from the gateway's address: a failed login must not block the others.
    "PerSourcePenalties no\n"
    "UseDNS no\n"
    "AllowAgentForwarding yes\n"
    "AllowStreamLocalForwarding local\n"
    "PermitOpen any\n"
    "X11Forwarding no\n"
    "PermitTunnel no\n"
    "PermitUserEnvironment no\n"
    "PermitUserRC no\n"
    "AcceptEnv LANG LC_* COLORTERM\n"
    "PrintMotd no\n"
    "PrintLastLog no\n"
    // Load balancers drop connections that are silent for about a minute. A client that sleeps under a resumable tunnel
    // answers nothing for up to 8 h; the gateway detects one that is lost.
    "ClientAliveInterval 25\n"
    "ClientAliveCountMax 1152\n"
    "LogLevel INFO\n"
    "Subsystem sftp " TOOLS "/sftp-server\n";

// Copies a file of the Secret to RUN, with the mode that sshd requires: the kubelet makes a Secret's files readable for
// the pod's fsGroup, and sshd refuses a private key that others can read. Returns false if it cannot be read.
static bool copy_in(const char *name) {
  size_t length;
  char *from = format(HOST "/%s", name), *to = format(RUN "/%s", name);
  char *bytes = read_file(from, &length);
  if (bytes) write_file(to, 0600, bytes, length);
  bool copied = bytes != NULL;
  free(bytes);
  free(from);
  free(to);
  return copied;
}

void sshd_prepare(const struct settings *settings) {
  if (!copy_in(KEY))
    die("cannot read " HOST "/" KEY ": %s; the pod needs the shell's Secret mounted at " HOST, strerror(errno));
  bool certified = copy_in(CERTIFICATE);
  if (!certified) say("there is no " HOST "/" CERTIFICATE ": clients will be asked whether they trust this host key");
  bool listens = strcmp(settings->permit_listen, "none") != 0;
  char *text = format("Port %d\n%s%sAllowTcpForwarding %s\nPermitListen %s\n", PORT, FIXED,
                      certified ? "HostCertificate " RUN "/" CERTIFICATE "\n" : "", listens ? "yes" : "local",
                      *settings->permit_listen ? settings->permit_listen : "none");
  write_file(CONFIGURATION, 0600, text, strlen(text));
  free(text);
}

// Notes the state of the Secret, and returns whether it has changed since the last call. The first call returns false.
bool sshd_note_keys(void) {
  static struct stat seen[2];
  static bool looked;
  struct stat now[2] = {0};
  if (stat(HOST "/" KEY, &now[0])) return false;  // being replaced, or gone: sshd keeps the key it has
  if (stat(HOST "/" CERTIFICATE, &now[1])) now[1] = (struct stat){0};
  bool changed = false;
  for (int i = 0; i < 2; i++)
    changed |= seen[i].st_ino != now[i].st_ino || seen[i].st_mtim.tv_sec != now[i].st_mtim.tv_sec ||
               seen[i].st_mtim.tv_nsec != now[i].st_mtim.tv_nsec;
  memcpy(seen, now, sizeof now);
  changed = changed && looked;
  looked = true;
  return changed;
}

// Becomes sshd in the foreground, with `log` as its stderr and without the app's environment: a variable like
// LD_PRELOAD names the image's libraries, and sshd has its own.
void sshd_run(int log) {
  char *argv[] = {KIT "/bin/sshd", "-D", "-e", "-f", CONFIGURATION, NULL};
  char *environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
  setsid();
  dup2(log, STDERR_FILENO);
  dup2(log, STDOUT_FILENO);
  execve(argv[0], argv, environment);
  die("cannot start %s: %s", argv[0], strerror(errno));
}
