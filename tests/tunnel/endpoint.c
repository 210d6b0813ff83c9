// Runs the kit's endpoint outside of a pod, for tests: `endpoint FOLDER PORT SSHD_PORT`. SIGUSR1 puts its clock forward by 20 s,
// and SIGUSR2 by two minutes.
#include <signal.h>
#include <stdlib.h>

#include "../../deploy/kit/source/kit.h"

static volatile int64_t passed;

int64_t __real_now_ms(void);
int64_t __wrap_now_ms(void);

// Takes the place of now_ms (ld(1), --wrap).
int64_t __wrap_now_ms(void) { return __real_now_ms() + passed; }

static void pass_time(int number) { passed += number == SIGUSR1 ? 20000 : 120000; }

int main(int argc, char **argv) {
  signal(SIGUSR1, pass_time);
  signal(SIGUSR2, pass_time);
  endpoint_prepare();
  if (argc != 4) die("no such command");
  endpoint_serve(argv[1], atoi(argv[2]), atoi(argv[3]));
}
