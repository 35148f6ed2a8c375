/* A service in one file: an LSTM with its weights inside, statically linked. It reads samples from the standard input
 * and answers on the standard output, a line each; between two lines it does what the next answer does not need its
 * sample for. Behind a socket: `socat TCP-LISTEN:7000,fork,reuseaddr EXEC:service`, or systemd's Accept=yes.
 *
 *     a sample, I numbers      ->  the answer, R numbers, which read back as the same bits
 *     reset                    ->  ok: the next sample is the first of a sequence
 *     anything else            ->  error: and why; the sequence goes on as if it had not come
 *
 * model.h is what `fastlstm convert MODEL model.h --to c-header` writes: of one direction.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <fastlstm.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { REAL = sizeof *model_weight_ih_l0, BOUNDARY = 64 };

typedef struct {
  fl_stream *stream;
  size_t I, R;
  void *x, *y;
  char *line;
  size_t room;
  int cut; /* the line was longer than that */
} service;

static void *allocated(size_t bytes) {
  void *const made = malloc(bytes);
  if (!made) {
    fputs("service: out of memory\n", stderr);
    exit(1);
  }
  return made;
}

static void set_real(void *array, size_t k, double value) {
  if (REAL == sizeof(float))
    ((float *)array)[k] = (float)value;
  else
    ((double *)array)[k] = value;
}

/* as many digits as tell every number apart */
static void print_real(const void *array, size_t k) {
  if (REAL == sizeof(float))
    printf("%.9g", (double)((const float *)array)[k]);
  else
    printf("%.17g", ((const double *)array)[k]);
}

static double read_real(const char *text, char **end) {
  return REAL == sizeof(float) ? (double)strtof(text, end) : strtod(text, end);
}

/* the numbers of a line; why not, or NULL */
static const char *read_sample(service *s) {
  const char *at = s->line;
  if (s->cut) return "the line is too long";
  for (size_t k = 0; k < s->I; k++) {
    char *end;
    const double value = read_real(at, &end);
    if (end == at) return *at ? "not a number" : "too few numbers";
    if (!isfinite(value)) return "not a finite number";
    set_real(s->x, k, value);
    at = end + strspn(end, " \t,");
  }
  return *at ? "too many numbers" : NULL;
}

static void answer(service *s) {
  if (!strcmp(s->line, "reset")) {
    puts(fl_status_text(fl_stream_set(s->stream, NULL, NULL)));
    return;
  }
  const char *const wrong = read_sample(s);
  const fl_status status = wrong ? FL_ERROR_ARGUMENT : fl_stream_step(s->stream, s->x, s->y);
  if (status != FL_OK) {
    printf("error: %s\n", wrong ? wrong : fl_status_text(status));
    return;
  }
  for (size_t k = 0; k < s->R; k++) {
    if (k) putchar(' ');
    print_real(s->y, k);
  }
  putchar('\n');
}

/* the next line without its end, as far as there is room; 0 at the end of the input, and after a line without an end */
static int next_line(service *s) {
  size_t length = 0;
  int c;
  s->cut = 0;
  while ((c = getchar()) != EOF && c != '\n') {
    s->cut |= length + 1 == s->room;
    if (!s->cut) s->line[length++] = c ? (char)c : '?'; /* a NUL is not a number, nor the line's end */
  }
  if (c == EOF) {
    if (length) puts("error: the line has no end");
    return 0;
  }
  if (length && s->line[length - 1] == '\r') length--;
  s->line[length] = 0;
  return 1;
}

int main(void) {
  fl_plan *plan;
  service s = {.I = model_config.input_size,
               .R = model_config.proj_size ? model_config.proj_size : model_config.hidden_size,
               .room = 64 + 32 * model_config.input_size};
  const fl_status status = fl_plan_create(&plan, &model_config, model_weights, NULL);
  if (status != FL_OK) {
    fprintf(stderr, "service: %s\n", fl_status_text(status));
    return 1;
  }
  char *const raw = allocated(fl_stream_size(plan, 1) + BOUNDARY);
  s.stream = fl_stream_init(plan, 1, raw + BOUNDARY - (size_t)raw % BOUNDARY);
  if (!s.stream) {
    fputs("service: the model is bidirectional: it cannot answer before its last sample\n", stderr);
    return 1;
  }
  s.x = allocated(s.I * REAL);
  s.y = allocated(s.R * REAL);
  s.line = allocated(s.room);
  while (next_line(&s)) {
    answer(&s);
    if (fflush(stdout) != 0) break; /* nobody listens any more */
    fl_stream_advance(s.stream);
  }
  free(s.x);
  free(s.y);
  free(s.line);
  free(raw);
  fl_plan_destroy(plan);
  return ferror(stdin) || ferror(stdout);
}
