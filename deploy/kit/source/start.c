// The first process of the shell's container. It starts sshd and the endpoint of resumable tunnels, reaps ended processes and
// reports how many sessions there are. When the pod stops, it gives the sessions their grace period.
//
//   SERVING --SIGTERM or the image's stop signal--> DRAINING --last session ended, or grace period over--> exit 0
//   any     --a second such signal--> exit 143
//   SERVING --sshd ended--> DRAINING, with exit 1 at the end
//
// The pod's preStop hook (`start stop`) sends the signal and waits for the end. The runtime's own signal comes after
// that, so even an image whose STOPSIGNAL is SIGKILL gets its grace period. The same holds if the kubelet runs the hook
// again.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit.h"

extern char **environ;

#define LOOK_BUSY_MS 1000    // between two censuses while there are sessions
#define LOOK_IDLE_MS 10000   // and while there are none; a new session shows in sshd's log at once
#define LOOK_LIVELY_MS 100   // and shortly after a line of sshd's log
#define LIVELY_MS 2000
#define LAST_MS 2000         // the part of the grace period that is kept to end sessions in good order
#define ENDPOINT_MS 10000    // an endpoint of tunnels that lives for a shorter time is started again only after
#define ENDPOINT_LATE_MS 600000
#define DRAINING RUN "/draining"
#define OVER RUN "/over"
#define HOOK RUN "/hook"  // locked by the preStop hook while it runs
#define HOOK_MS 10000     // a hook has this long to see OVER, for which a busy node may need seconds

static struct {
  struct settings settings;
  pid_t listener, endpoint;  // 0 once it has ended
  int log;                   // sshd's stderr
  int signals;
  bool listening;            // sshd has logged that it listens
  bool draining;
  int exit_status;
  int64_t deadline, lively_until, endpoint_since, endpoint_at;
  int warned;                // how many of WARN_AT have been shown
  int sessions, tmux;        // as last reported; `tmux` counts what stays when its session ends
} shell;

// Seconds before the end at which the warning is shown again in each terminal.
static const long WARN_AT[] = {300, 60, 30, 10};
#define WARNINGS ((int)(sizeof WARN_AT / sizeof *WARN_AT))

#define SYSTEMD_STOP 37      // SIGRTMIN+3 as runtimes count it; musl's SIGRTMIN is another

// Makes this the process that adopts orphans, and returns a signalfd of SIGCHLD and of the signals that mean stop. The runtime
// sends the image's STOPSIGNAL: SIGQUIT for nginx, SIGINT for PostgreSQL, SIGWINCH for Apache, SIGRTMIN+3 for systemd. The
// kernel applies no default action to a first process. A signal that comes before it is read waits.
int become_first_process(void) {
  const int signals[] = {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPWR, SYSTEMD_STOP};
  sigset_t ours;
  sigemptyset(&ours);
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaddset(&ours, signals[i]);
  if (!isatty(STDIN_FILENO)) sigaddset(&ours, SIGWINCH);  // on a terminal it means that the window has changed size
  sigprocmask(SIG_BLOCK, &ours, NULL);
  signal(SIGPIPE, SIG_IGN);
  int fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) die("cannot take signals: %s", strerror(errno));
  // Sessions and tasks have the same uid: they must not write lines of the log through /proc/1/fd/1.
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // where the pod shares its process namespace, this is not process 1
  return fd;
}

static void start_sshd(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) die("cannot make a pipe: %s", strerror(errno));
  shell.listener = fork();
  if (shell.listener < 0) die("cannot start sshd: %s", strerror(errno));
  if (!shell.listener) {
    reset_signals();
    sshd_run(ends[1]);
  }
  close(ends[1]);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  shell.log = ends[0];
}

// Starts the endpoint of resumable tunnels. Without one, tunnels end with their connection.
static void start_endpoint(void) {
  shell.endpoint_since = now_ms();
  endpoint_prepare();
  pid_t pid = fork();
  if (pid < 0) say("cannot start the endpoint of tunnels: %s", strerror(errno));
  if (pid) {
    shell.endpoint = pid > 0 ? pid : 0;
    return;
  }
  reset_signals();
  prctl(PR_SET_NAME, "tunnels");
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close(shell.signals);
  close(shell.log);
  setsid();
  endpoint_serve(TUNNELS, TUNNEL_PORT, PORT);
}

// Logs a line of sshd's, which ends in CR LF. Leaves out a line that comes with each terminal and means nothing here.
static void forward_line(char *line) {
  line[strcspn(line, "\r")] = 0;
  if (starts_with(line, "Server listening on")) shell.listening = true;
  if (!*line || strstr(line, "Attempt to write login records by non-root user")) return;
  fprintf(stderr, "sshd: %s\n", line);
}

static void forward_log(void) {
  static char held[4096];
  static size_t used;
  for (;;) {
    ssize_t got = read(shell.log, held + used, sizeof held - 1 - used);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
      close(shell.log);
      shell.log = -1;
    }
    if (got <= 0) return;
    used += (size_t)got;
    held[used] = 0;
    char *line = held, *end;
    while ((end = strchr(line, '\n'))) {
      *end = 0;
      forward_line(line);
      line = end + 1;
    }
    used = strlen(line);
    if (used == sizeof held - 1) {  // sshd writes no line of this length: log it in pieces
      forward_line(line);
      used = 0;
    } else {
      memmove(held, line, used + 1);
    }
    shell.lively_until = now_ms() + LIVELY_MS;
  }
}

// Reports the sessions when they have changed. The first report also means that logins are possible.
static void report_state(const struct census *census) {
  int staying = census->tmux + census->terminals;
  if (!shell.listening) return;
  if (census->sessions == shell.sessions && staying == shell.tmux) return;
  shell.sessions = census->sessions;
  shell.tmux = staying;
  if (census->sessions || staying) printf("stagedoor: busy sessions=%d tmux=%d\n", census->sessions, staying);
  else puts("stagedoor: idle");
  fflush(stdout);
}

// Returns seconds in words: "45 s", "30 min", "2 h", "1 h 30 min".
static char *duration(long seconds) {
  long hours = seconds / 3600, minutes = seconds % 3600 / 60;
  if (seconds < 120) return format("%ld s", seconds);
  if (!hours) return format("%ld min", minutes);
  if (!minutes) return format("%ld h", hours);
  return format("%ld h %ld min", hours, minutes);
}

static void warn(const struct census *census, long seconds) {
  char *words = duration(seconds);
  char *message = format("stagedoor: this shell is being stopped and ends in %s. Save your work and log out.", words);
  write_to_terminals(census, message);
  free(message);
  free(words);
}

static void drain(int exit_status) {
  if (shell.draining) return;
  shell.draining = true;
  shell.exit_status = exit_status;
  write_file(DRAINING, 0600, "", 0);
  long grace = shell.settings.grace_s;
  shell.deadline = now_ms() + grace * 1000LL - (grace > 4 ? LAST_MS : 0);
  while (shell.warned < WARNINGS && WARN_AT[shell.warned] >= grace) shell.warned++;
  if (shell.listener) kill(shell.listener, SIGTERM);
  struct census census = census_take_surely(shell.listener);
  say("stopping: no new logins; %d sessions and %d terminals at work have %ld s left", census.sessions, census.working, grace);
  warn(&census, grace);
  free(census.pids);
}

// The endpoint of tunnels has ended. It is started again, but one that cannot have its port is not tried without a pause.
static void note_endpoint_end(void) {
  int64_t now = now_ms();
  shell.endpoint = 0;
  say("the endpoint of tunnels has ended, and its tunnels with it; the gateway keeps new ones meanwhile");
  shell.endpoint_at = now - shell.endpoint_since < ENDPOINT_MS ? now + ENDPOINT_LATE_MS : now;
}

static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid == shell.endpoint) note_endpoint_end();
    if (pid != shell.listener) continue;
    shell.listener = 0;
    if (shell.log >= 0) forward_log();
    if (shell.draining) continue;
    if (WIFSIGNALED(status)) say("sshd was ended by signal %d; see its last lines above", WTERMSIG(status));
    else say("sshd ended with status %d; see its last lines above", WEXITSTATUS(status));
    drain(1);
  }
}

static void take_signals(void) {
  struct signalfd_siginfo signal;
  while (read(shell.signals, &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo == SIGCHLD) continue;
    if (shell.draining) {
      say("a second signal to stop: ending at once");
      exit(143);
    }
    drain(0);
  }
  reap();
}

// Ends the sessions and the held terminals: sshd and the holders hang up, so that shells can write their history.
static void end(struct census *census) {
  if (census->sessions || census->working)
    say("the grace period is over: ending %d sessions and %d terminals", census->sessions, census->terminals);
  int64_t until = now_ms() + LAST_MS / 2;
  for (int i = 0; i < census->sessions + census->terminals; i++) kill(census->pids[i], SIGTERM);
  while (census->sessions + census->terminals && now_ms() < until) {
    poll(NULL, 0, 20);
    reap();
    free(census->pids);
    *census = census_take(shell.listener);
  }
  if (shell.log >= 0) forward_log();
  let_hook_end();
  exit(shell.exit_status);
}

static void continue_draining(struct census *census) {
  int64_t left = shell.deadline - now_ms();
  // No client can return to a held terminal, but a command that runs in it may still finish.
  if (!census->sessions && !census->working) {
    free(census->pids);
    *census = census_take_surely(shell.listener);
  }
  if ((!census->sessions && !census->working) || left <= 0) end(census);
  int64_t until_the_end = left + (shell.settings.grace_s > 4 ? LAST_MS : 0);
  if (shell.warned < WARNINGS && until_the_end <= WARN_AT[shell.warned] * 1000LL) warn(census, WARN_AT[shell.warned++]);
}

// Shows the controller's notice in each terminal whenever it changes, for example that the app has moved on. The notice
// at the start is not shown: it is in the greeting.
static void show_notice(const struct census *census) {
  static char *shown;
  char *notice = read_file(SHELL "/notice", NULL);
  if (!notice) notice = need(strdup(""));
  char *to = notice;
  for (const char *from = notice; *from; from++)
    if (!is_control(*from)) *to++ = *from;
  *to = 0;
  if (shown && *notice && strcmp(shown, notice)) {
    char *message = format("stagedoor: %s.", notice);
    write_to_terminals(census, message);
    free(message);
  }
  free(shown);
  shown = notice;
}

static int wait_ms(void) {
  if (shell.draining || now_ms() < shell.lively_until) return LOOK_LIVELY_MS;
  return shell.sessions > 0 || shell.tmux > 0 ? LOOK_BUSY_MS : LOOK_IDLE_MS;
}

// Gives sshd the new host key. A child process copies it: if that fails, sshd keeps the old one.
static void reload_keys(void) {
  pid_t copier = fork();
  if (!copier) {
    sshd_prepare(&shell.settings);
    _exit(0);
  }
  int status = 1;
  if (copier > 0) waitpid(copier, &status, 0);
  if (status) {
    say("the host key or its certificate has changed and cannot be taken: sshd keeps the old ones");
    return;
  }
  say("the host key or its certificate has changed: sshd reads them again");
  kill(shell.listener, SIGHUP);
}

__attribute__((noreturn)) static void serve(void) {
  for (;;) {
    struct pollfd from[] = {{.fd = shell.signals, .events = POLLIN}, {.fd = shell.log, .events = POLLIN}};
    poll(from, 2, wait_ms());
    if (shell.log >= 0) forward_log();
    take_signals();
    struct census census = census_take(shell.listener);
    report_state(&census);
    if (shell.draining) {
      continue_draining(&census);
    } else {
      show_notice(&census);
      if (!shell.endpoint && now_ms() >= shell.endpoint_at) start_endpoint();
      if (sshd_note_keys()) reload_keys();
    }
    free(census.pids);
  }
}

// Runs `command`, for an image whose entrypoint makes the environment. It starts this program again as `start set-up`.
static void set_up(const char *command) {
  struct strings environment = {0};
  environment_copy(&environment, environ, "");
  char *shell_program = find_shell(&environment);
  char *line = format("%s \"$@\"", command);
  char *words[] = {strrchr(shell_program, '/') + 1, "-c", line, "stagedoor", KIT "/bin/start", "set-up", NULL};
  execv(shell_program, words);
  die("cannot run STAGEDOOR_SETUP with %s: %s", shell_program, strerror(errno));
}

// Runs as the pod's preStop hook: asks the first process to stop, and returns when it has nothing left to wait for. When
// the hook runs again, it only waits.
static int stop(void) {
  int lock = open(HOOK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock >= 0) flock(lock, LOCK_SH | LOCK_NB);
  if (access(DRAINING, F_OK) && kill(1, SIGTERM)) return 1;
  while (access(OVER, F_OK) && !kill(1, 0)) poll(NULL, 0, 50);
  return 0;
}

// Lets the preStop hook return before this process ends: all processes of the container end with it, and the kubelet
// reports a hook that was killed as failed.
void let_hook_end(void) {
  write_file(OVER, 0600, "", 0);
  int lock = open(HOOK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  int64_t until = now_ms() + HOOK_MS;
  while (flock(lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK && now_ms() < until) poll(NULL, 0, 10);
}

// Saves what sessions begin with: the environment, the folder and the account of the container.
void prepare_sessions(const struct settings *settings) {
  environment_save(environ);
  char *folder = *settings->directory ? need(strdup(settings->directory)) : getcwd(NULL, 0);
  if (!folder) folder = need(strdup("/"));
  write_file(RUN "/directory", 0600, folder, strlen(folder));
  free(folder);
  account_write(settings);
}

int start_main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "stop")) return stop();
  shell.settings = settings_read();
  bool is_set_up = argc > 1 && !strcmp(argv[1], "set-up");
  if (*shell.settings.setup && !is_set_up) set_up(shell.settings.setup);
  shell.signals = become_first_process();
  unlink(DRAINING);
  unlink(OVER);
  prepare_sessions(&shell.settings);
  sshd_prepare(&shell.settings);
  sshd_note_keys();
  shell.sessions = shell.tmux = -1;  // so that the first census is reported
  start_sshd();
  start_endpoint();
  serve();
}
