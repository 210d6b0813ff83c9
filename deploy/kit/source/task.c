// The first process of a run's container. It runs one command, and writes its output to the container's log.
//
// Each line of that log is a piece of output, such as `o 120 hello\n`: o for standard output or e for standard error, the
// offset of its first byte in all of the output, and the bytes, in which a line end is written \n and a backslash \\. So a
// reader may begin at any line, and sees what it lacks. How the task ended is in the container's termination message.
//
//   task SECONDS SETTINGS COMMAND [INPUT]    SETTINGS as in SHELL/settings, which a run's pod does not have; INPUT is a file
//
// The pod's preStop hook (`start stop`) sends a signal when the pod is deleted: the task gets SIGTERM, and SIGKILL after
// GRACE_MS.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit.h"

#define GRACE_MS 10000
#define PIECE 8192              // bytes in a line; with escapes it is twice that at most
#define MAX_LEFTOVER_BYTES (1024 * 1024)  // read from each pipe after the end at most: processes that stay may go on writing
#define MESSAGE "/dev/termination-log"
#define TIMED_OUT 124
#define STOPPED 143

static struct {
  pid_t task;
  int outputs[2];    // the task's stdout and stderr; -1 once closed
  unsigned long long size;
  const char *end;   // why it was asked to end: "timed_out", "stopped" or NULL
  int64_t ends_at, kills_at;
  int signals, status;
  bool ended;
} run = {.outputs = {-1, -1}};

// Forwards a piece of output. Returns how many bytes it had, 0 if there is nothing now.
static size_t forward(int stream) {
  static char piece[PIECE], line[2 * PIECE + 64];
  if (run.outputs[stream] < 0) return 0;
  ssize_t got = read(run.outputs[stream], piece, sizeof piece);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (got <= 0) {
    close(run.outputs[stream]);
    run.outputs[stream] = -1;
    return 0;
  }
  size_t at = (size_t)snprintf(line, sizeof line, "%c %llu ", stream ? 'e' : 'o', run.size);
  for (ssize_t i = 0; i < got; i++) {
    if (piece[i] == '\\' || piece[i] == '\n') line[at++] = '\\';
    line[at++] = piece[i] == '\n' ? 'n' : piece[i];
  }
  line[at++] = '\n';
  write_all(STDOUT_FILENO, line, at);  // if the log is gone, the task continues
  run.size += (size_t)got;
  return (size_t)got;
}

static void stop(const char *why) {
  if (run.end || run.ended) return;
  run.end = why;
  run.kills_at = now_ms() + GRACE_MS;
  kill(-run.task, SIGTERM);
  kill(-run.task, SIGCONT);  // a stopped process could not end
}

static void take_signals(void) {
  struct signalfd_siginfo signal;
  while (read(run.signals, &signal, sizeof signal) == sizeof signal)
    if (signal.ssi_signo != SIGCHLD) stop("stopped");
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    if (pid == run.task) run.ended = true, run.status = status;
}

__attribute__((noreturn)) static void become(const char *command, int input, const int outputs[2]) {
  setsid();
  dup2(input, STDIN_FILENO);
  dup2(outputs[0], STDOUT_FILENO);
  dup2(outputs[1], STDERR_FILENO);
  for (int fd = 3; fd < 64; fd++) close(fd);
  reset_signals();
  login_as(command, NULL);
}

static void spawn_task(const char *command, const char *file) {
  int out[2], err[2], input = open(file, O_RDONLY | O_CLOEXEC);
  if (input < 0) die("cannot open %s: %s", file, strerror(errno));
  if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) die("cannot make a pipe: %s", strerror(errno));
  run.task = fork();
  if (run.task < 0) die("cannot start the task: %s", strerror(errno));
  if (!run.task) become(command, input, (const int[2]){out[1], err[1]});
  close(input);
  close(out[1]);
  close(err[1]);
  run.outputs[0] = out[0];
  run.outputs[1] = err[0];
  for (int i = 0; i < 2; i++) fcntl(run.outputs[i], F_SETFL, O_NONBLOCK);
}

// Waits for output, for a signal, or until there is something to do.
static void wait_for_news(void) {
  int64_t left = (run.end ? run.kills_at : run.ends_at) - now_ms();
  struct pollfd from[] = {{.fd = run.signals, .events = POLLIN},
                          {.fd = run.outputs[0], .events = POLLIN},
                          {.fd = run.outputs[1], .events = POLLIN}};
  poll(from, 3, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
}

// Reports how the run has ended, and ends with the exit code of the task or of that end.
__attribute__((noreturn)) static void finish(void) {
  int killed_by = WIFSIGNALED(run.status) ? WTERMSIG(run.status) : 0;
  int code = killed_by ? 128 + killed_by : WEXITSTATUS(run.status);
  if (run.end) code = strcmp(run.end, "stopped") ? TIMED_OUT : STOPPED;
  char *text = format("{\"state\": \"%s\", \"code\": %d, \"signal\": %d, \"size\": %llu}", run.end ? run.end : "exited",
                      code, run.end ? 0 : killed_by, run.size);
  int file = open(MESSAGE, O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (file < 0 || write(file, text, strlen(text)) < 0) say("cannot write %s: %s", MESSAGE, strerror(errno));
  if (run.end && !strcmp(run.end, "stopped")) let_hook_end();
  exit(code);
}

int task_main(int argc, char **argv) {
  if (argc != 4 && argc != 5) die("a task takes SECONDS SETTINGS COMMAND [INPUT]");
  write_file(SETTINGS_OF_RUN, 0600, argv[2], strlen(argv[2]));
  struct settings settings = settings_read();
  run.signals = become_first_process();
  prepare_sessions(&settings);
  run.ends_at = now_ms() + atoll(argv[1]) * 1000;
  spawn_task(argv[3], argc == 5 ? argv[4] : "/dev/null");
  while (!run.ended) {
    wait_for_news();
    take_signals();
    forward(0);
    forward(1);
    if (now_ms() >= run.ends_at) stop("timed_out");
    if (run.end && now_ms() >= run.kills_at) kill(-run.task, SIGKILL);
  }
  // What the task has left behind ends with it.
  if (getpid() == 1) kill(-1, SIGKILL);
  else kill(-run.task, SIGKILL);
  for (int stream = 0; stream < 2; stream++)
    for (size_t left = MAX_LEFTOVER_BYTES, got; left && (got = forward(stream)); left -= got < left ? got : left) {}
  finish();
}
