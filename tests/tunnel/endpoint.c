// Runs the kit's endpoint outside of a pod, for tests: `endpoint serve FOLDER PORT SSHD_PORT`, and `endpoint control FOLDER`, which
// joins stdin and stdout to its private socket. SIGUSR1 puts its clock forward by 20 s, and SIGUSR2 by two minutes.
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../../deploy/kit/source/holder/holder.h"
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
  if (argc == 5 && !strcmp(argv[1], "serve")) endpoint_serve(argv[2], atoi(argv[3]), atoi(argv[4]));
  if (argc != 3 || strcmp(argv[1], "control")) die("no such command");
  int connection = place_connect(place_open(argv[2]), "control");
  if (connection < 0) die("no endpoint runs there");
  carry(connection);
}
