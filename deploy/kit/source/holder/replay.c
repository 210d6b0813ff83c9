// Makes old output fit to be shown again by removing queries: the new terminal would answer them, and the program would
// take the answers for typed input. src/stagedoor/holder/ring.py has the same as a pattern, and the sources.
#include <string.h>

#include "holder.h"

// Returns the length of a query after ESC [, or 0: MARKER PARAMETERS INTERMEDIATES FINAL (ECMA-48 §5.4) of DA, DSR,
// XTWINOPS, DECREQTPARM, DECRQM, XTVERSION, and the query for the keyboard's flags.
static size_t control_length(const uint8_t *at, const uint8_t *end) {
  const uint8_t *start = at;
  uint8_t marker = 0;
  if (at < end && memchr("?>=<", *at, 4)) marker = *at++;
  const uint8_t *parameters = at;
  while (at < end && ((*at >= '0' && *at <= '9') || *at == ';' || *at == ':')) at++;
  const uint8_t *intermediates = at;
  while (at < end && *at >= ' ' && *at <= '/') at++;
  if (at == end) return 0;
  bool plain = at == intermediates;
  bool asks = memchr("cntx", *at, 4) || (*at == 'p' && at - intermediates == 1 && *intermediates == '$') ||
              (*at == 'q' && marker == '>' && plain && !memchr(parameters, ':', (size_t)(at - parameters))) ||
              (*at == 'u' && marker == '?' && at == parameters);
  return asks ? (size_t)(at - start) + 1 : 0;
}

// Returns the length of a string up to its end (ESC \ or, for OSC, BEL), or 0. A link by OSC 8 is no query.
static size_t string_length(const uint8_t *at, const uint8_t *end, bool osc) {
  const uint8_t *start = at;
  if (osc && end - at >= 2 && at[0] == '8' && at[1] == ';') return 0;
  while (at < end && *at != 0x1b && !(osc && *at == 7)) at++;
  if (at < end && *at == 7) return (size_t)(at - start) + 1;
  return end - at >= 2 && at[1] == '\\' ? (size_t)(at - start) + 2 : 0;
}

// Returns whether a sixel picture's data begin at `at`: parameters, then q. They ask nothing.
static bool is_picture(const uint8_t *at, const uint8_t *end) {
  while (at < end && ((*at >= '0' && *at <= '9') || *at == ';')) at++;
  return at < end && *at == 'q';
}

// Returns the length of the query that begins at `at`, or 0.
static size_t query_length(const uint8_t *at, const uint8_t *end) {
  if (*at == 5) return 1;  // ENQ
  if (*at != 0x1b || end - at < 2) return 0;
  size_t length = at[1] == '[' ? control_length(at + 2, end) : at[1] == ']' ? string_length(at + 2, end, true)
               : memchr("P_^X", at[1], 4) && !(at[1] == 'P' && is_picture(at + 2, end)) ? string_length(at + 2, end, false) : 0;
  if (length) return 2 + length;
  return at[1] == 'Z' ? 2 : 0;
}

// Removes the queries from `data` and returns the length of the rest.
size_t drop_queries(uint8_t *data, size_t length) {
  uint8_t *to = data;
  for (const uint8_t *at = data, *end = data + length; at < end;) {
    size_t skipped = query_length(at, end);
    if (skipped) at += skipped;
    else *to++ = *at++;
  }
  return (size_t)(to - data);
}
