// Runs the kit's endpoint outside of a pod, for tests: `endpoint serve FOLDER PORT SSHD_PORT`, and `endpoint control FOLDER`, which
// joins stdin and stdout to its private socket.
#include <stdlib.h>
#include <string.h>

#include "../../deploy/kit/source/holder/holder.h"
#include "../../deploy/kit/source/kit.h"

int main(int argc, char **argv) {
  if (argc == 5 && !strcmp(argv[1], "serve")) endpoint_serve(argv[2], atoi(argv[3]), atoi(argv[4]));
  if (argc != 3 || strcmp(argv[1], "control")) die("no such command");
  int connection = place_connect(place_open(argv[2]), "control");
  if (connection < 0) die("no endpoint runs there");
  carry(connection);
}
