// Follows in the output which modes a program has switched on, so that a new client's terminal can be set to them.
// src/stagedoor/wire/terminal/modes.py does the same, and says which modes and why.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "holder.h"

#define MAX_SEQUENCE 128
#define MAX_PUSHED 16

static const int FOLLOWED[] = {1,    5,    6,    7,    9,    12,   25,   45,   47,   66,   1000, 1001,
                               1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 1047, 1049, 2004, 2026};
#define COUNT (sizeof FOLLOWED / sizeof *FOLLOWED)

struct sequence {
  char marker, intermediates[4], final, parameters[MAX_SEQUENCE];
};

static struct {
  int order[COUNT];  // modes that were set or unset, in the order in which they first were
  bool on[COUNT];
  size_t known;
  bool keypad;
  char cursor_shape[MAX_SEQUENCE], modify_keys[MAX_SEQUENCE];
  int keyboard[MAX_PUSHED], pushed;  // the flags below all that were pushed come first
} modes;
static uint64_t escape_at;    // where the last sequence began
static uint64_t primary_end;

static bool is_alternate(int mode) { return mode == 1049 || mode == 1047 || mode == 47; }

static bool is_on_by_default(int mode) { return mode == 7 || mode == 25; }

static void forget(int mode) {
  for (size_t i = 0; i < modes.known; i++) {
    if (modes.order[i] != mode) continue;
    modes.known--;
    memmove(modes.order + i, modes.order + i + 1, (modes.known - i) * sizeof *modes.order);
    memmove(modes.on + i, modes.on + i + 1, (modes.known - i) * sizeof *modes.on);
  }
}

static void remember(int mode, bool on) {
  size_t at = 0;
  while (at < modes.known && modes.order[at] != mode) at++;
  if (at == modes.known) modes.order[modes.known++] = mode;
  modes.on[at] = on;
}

// Returns a number of at most five digits, or -1.
static int number_of(const char *text, size_t length) {
  if (!length || length > 5 || strspn(text, "0123456789") < length) return -1;
  return atoi(text);
}

static void switch_modes(const char *parameters, bool on) {
  bool alternate = modes_alternate_screen();
  for (const char *at = parameters;; at++) {
    size_t length = strcspn(at, ";");
    int mode = number_of(at, length);
    for (size_t i = 0; i < COUNT; i++)
      if (FOLLOWED[i] == mode) remember(mode, on);
    at += length;
    if (!*at) break;
  }
  if (modes_alternate_screen() && !alternate) primary_end = escape_at;
}

static void modify_keys(const char *parameters) {  // CS XTMODKEYS
  size_t length = strcspn(parameters, ";");
  const char *value = parameters[length] ? parameters + length + 1 : "";
  if (length == 1 && *parameters == '4') {
    if (*value && strcmp(value, "0")) strcpy(modes.modify_keys, parameters);
    else *modes.modify_keys = 0;
  } else if (!length) {
    *modes.modify_keys = 0;
  }
}

static void set_keyboard(char marker, const char *parameters) {
  size_t length = strcspn(parameters, ";");
  int value = number_of(parameters, length), *last = modes.keyboard + modes.pushed;
  int mode = parameters[length] ? number_of(parameters + length + 1, strlen(parameters + length + 1)) : 1;
  if (value < 0) value = 0;
  if (marker == '>') {
    if (modes.pushed == MAX_PUSHED - 1) memmove(modes.keyboard, modes.keyboard + 1, sizeof *modes.keyboard * (size_t)modes.pushed--);
    modes.keyboard[++modes.pushed] = value & 31;
  } else if (marker == '=') {
    *last = (mode == 2 ? *last | value : mode == 3 ? *last & ~value : value) & 31;
  } else if (value > modes.pushed) {
    modes.pushed = *modes.keyboard = 0;
  } else if (modes.pushed || value) {
    modes.pushed -= value ? value : 1;
  } else {
    *modes.keyboard = 0;
  }
}

static void control(const struct sequence *found) {
  const char *between = found->intermediates;
  if (found->marker == '?' && !*between && (found->final == 'h' || found->final == 'l')) {
    switch_modes(found->parameters, found->final == 'h');
  } else if (!found->marker && !strcmp(between, " ") && found->final == 'q') {  // CS DECSCUSR
    strcpy(modes.cursor_shape, strcmp(found->parameters, "0") ? found->parameters : "");
  } else if (!found->marker && !strcmp(between, "!") && found->final == 'p') {  // CS DECSTR
    static const int SOFT[] = {1, 6, 66, 7, 25};
    for (size_t i = 0; i < sizeof SOFT / sizeof *SOFT; i++) forget(SOFT[i]);
    modes.keypad = false;
  } else if (found->marker == '>' && !*between && found->final == 'm') {
    modify_keys(found->parameters);
  } else if (found->marker && strchr("><=", found->marker) && !*between && found->final == 'u') {  // kitty's keyboard
    set_keyboard(found->marker, found->parameters);
  }
}

static void escape(char final) {
  if (final == '=') modes.keypad = true;         // CS DECKPAM
  else if (final == '>') modes.keypad = false;   // CS DECKPNM
  else if (final == 'c') memset(&modes, 0, sizeof modes);  // CS RIS
}

// Reads the next bytes of the output. The parts of ESC [ MARKER PARAMETERS INTERMEDIATES FINAL come in this order; a byte
// that does not fit ends the sequence, and so does a part that is too long for any followed sequence.
void modes_feed(const uint8_t *data, size_t length) {
  static enum { TEXT, ESCAPE, MARKER, PARAMETERS, INTERMEDIATES } part;
  static struct sequence found;
  static size_t used, between;
  static uint64_t fed;
  const uint8_t *start = data;
  for (const uint8_t *end = data + length; data < end; data++) {
    if (part == TEXT) {
      data = memchr(data, 0x1b, (size_t)(end - data));
      if (!data) break;
    }
    uint8_t c = *data;
    if (c == 0x1b) {
      part = ESCAPE;
      escape_at = fed + (uint64_t)(data - start);
    } else if (part == ESCAPE) {
      if (c != '[') escape((char)c);
      part = c == '[' ? MARKER : TEXT;
      memset(&found, 0, sizeof found);
      used = between = 0;
    } else if (part == MARKER && c >= '<' && c <= '?') {
      found.marker = (char)c;
      part = PARAMETERS;
    } else if (part <= PARAMETERS && c >= '0' && c <= ';' && used < MAX_SEQUENCE - 1) {
      found.parameters[used++] = (char)c;
      part = PARAMETERS;
    } else if (c >= ' ' && c <= '/' && between < sizeof found.intermediates - 1) {
      found.intermediates[between++] = (char)c;
      part = INTERMEDIATES;
    } else {
      found.final = (char)c;
      if (c >= '@' && c <= '~') control(&found);
      part = TEXT;
    }
  }
  fed += length;
}

// Returns the offset in the output at which the primary screen was left, if the alternate screen is shown now.
uint64_t modes_primary_end(void) { return primary_end; }

bool modes_alternate_screen(void) {
  for (size_t i = 0; i < modes.known; i++)
    if (modes.on[i] && is_alternate(modes.order[i])) return true;
  return false;
}

__attribute__((format(printf, 2, 3))) static void add(struct bytes *out, const char *text, ...) {
  char sequence[MAX_SEQUENCE + 16];
  va_list arguments;
  va_start(arguments, text);
  int length = vsnprintf(sequence, sizeof sequence, text, arguments);
  va_end(arguments);
  bytes_add(out, (struct piece){sequence, (size_t)length});
}

// Adds the sequences that set a new terminal to these modes, the alternate screen first.
void modes_redo(struct bytes *out) {
  for (int first = 1; first >= 0; first--)
    for (size_t i = 0; i < modes.known; i++)
      if (is_alternate(modes.order[i]) == first && modes.on[i] != is_on_by_default(modes.order[i]))
        add(out, "\x1b[?%d%c", modes.order[i], modes.on[i] ? 'h' : 'l');
  if (modes.keypad) add(out, "\x1b=");
  if (*modes.cursor_shape) add(out, "\x1b[%s q", modes.cursor_shape);
  if (*modes.modify_keys) add(out, "\x1b[>%sm", modes.modify_keys);
  if (*modes.keyboard) add(out, "\x1b[=%du", *modes.keyboard);
  for (int i = 1; i <= modes.pushed; i++) add(out, "\x1b[>%du", modes.keyboard[i]);
}
