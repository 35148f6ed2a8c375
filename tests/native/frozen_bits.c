/* The bits of every group of results that the C library gives by itself, against the committed table.
 *
 *   frozen_bits tests/data/frozen_bits.txt [instruction set]   on all of this machine, or on one
 *
 * tests/frozen_bits.py computes the same groups from the same table through Python, and says what its words mean. The
 * groups that only Python has are left out here. Any endianness, any C library: inputs are integers times powers of
 * two, or bits.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <float.h>
#include <math.h>
#include "fastlstm.h"
#include "support.h"

/* ---- a row of the table ----------------------------------------------------------------------------------------- */

/* X(name, value where it is not given) */
#define OPTIONS(X)                                                                                                     \
  X(I, 1) X(H, 1) X(P, 0) X(L, 1) X(D, 1) X(T, 1) X(B, 1) X(n, 1) X(rows, 1) X(units, 1) X(bias, 1) X(hx, 0)           \
  X(lengths, 0) X(resets, 0) X(batch_first, 0) X(dropout, 0) X(keep_every, 0) X(scale, 0) X(weights, -1)               \
  X(peepholes, 0) X(coupled, 0) X(seed, 0)

typedef struct {
  char kind[16], name[16], values[16];
#define FIELD(option, value) int option;
  OPTIONS(FIELD)
#undef FIELD
  fl_form form;
  uint64_t hash[2]; /* float32, float64 */
  fl_weight_type type;
} row;

static const char *const CLIPS[] = {"none", "activations", "gates", "state"};
static const char *const STORED[] = {"", "float16", "bfloat16", "int8", "int8-fast"}; /* as fl_weight_type */
static const char *const VALUES[] = {"plain", "special", "tiny", "huge", "wide"};
enum { PLAIN, SPECIAL, TINY, HUGE_, WIDE };

static void unknown(const char *word) {
  fprintf(stderr, "frozen_bits: an unknown word in the table: %s\n", word);
  exit(1);
}

static int find(const char *const *list, size_t count, const char *word) {
  for (size_t k = 0; k < count; k++)
    if (!strcmp(list[k], word)) return (int)k;
  unknown(word);
  return 0;
}
#define FIND(list, word) find(list, sizeof list / sizeof list[0], word)

/* name,alpha,beta */
static fl_activation activation_of(char *text) {
  fl_activation a = {FL_SIGMOID, 0, 0};
  char *alpha = strchr(text, ','), *beta = alpha ? strchr(alpha + 1, ',') : NULL;
  if (beta) *beta++ = 0, a.beta = strtod(beta, NULL);
  if (alpha) *alpha++ = 0, a.alpha = strtod(alpha, NULL);
  const fl_activation_info *info;
  size_t kind = 0;
  while ((info = fl_activation_at(kind)) && strcmp(info->name, text)) kind++;
  if (!info) unknown(text);
  a.kind = (fl_activation_kind)kind;
  return a;
}

static void read_option(row *r, const char *option, char *value) {
#define NUMBER(name, otherwise)                        \
  if (!strcmp(option, #name)) {                        \
    r->name = (int)strtol(value, NULL, 10);            \
    return;                                            \
  }
  if (!strcmp(r->kind, "activation") && !strcmp(option, "name")) {
    snprintf(r->name, sizeof r->name, "%s", value);
    return;
  }
  OPTIONS(NUMBER)
#undef NUMBER
  if (!strcmp(option, "values"))
    snprintf(r->values, sizeof r->values, "%s", value);
  else if (!strcmp(option, "stored"))
    r->type = (fl_weight_type)FIND(STORED, value);
  else if (!strcmp(option, "gate"))
    r->form.gate = activation_of(value);
  else if (!strcmp(option, "candidate"))
    r->form.candidate = activation_of(value);
  else if (!strcmp(option, "cell"))
    r->form.cell = activation_of(value);
  else if (!strcmp(option, "clip"))
    r->form.clip = strtod(value, NULL);
  else {
    CHECK(!strcmp(option, "clip_at"));
    r->form.clip_at = (fl_clip)FIND(CLIPS, value);
  }
}

/* whether the line is a row: not empty, not a comment */
static int read_row(char *line, row *r) {
  char *const hashes = strstr(line, "::");
  if (line[0] == '#' || !hashes) return 0;
  *hashes = 0;
#define DEFAULT(option, value) .option = value,
  *r = (row){.values = "plain", OPTIONS(DEFAULT)};
#undef DEFAULT
  r->form = (fl_form){.candidate = {FL_TANH, 0, 0}, .cell = {FL_TANH, 0, 0}};
  char *word = strtok(line, " ");
  CHECK(word && strlen(word) < sizeof r->kind);
  memcpy(r->kind, word, strlen(word) + 1);
  while ((word = strtok(NULL, " "))) {
    char *const value = strchr(word, '=');
    CHECK(value);
    *value = 0;
    read_option(r, word, value + 1);
  }
  r->form.peepholes = r->peepholes;
  r->form.coupled = r->coupled;
  char *end;
  r->hash[0] = strtoull(hashes + 2, &end, 16);
  if (r->type == FL_WEIGHTS_REAL) r->hash[1] = strtoull(end, &end, 16);
  CHECK(*end == '\n' || *end == '\r');
  return 1;
}

/* ---- numbers in, hashes out ------------------------------------------------------------------------------------- */

typedef struct {
  const row *row;
  fl_dtype dtype;
  const char *isa;
  size_t real;
  uint64_t hash, count; /* of what has come out so far */
  void *memory[400];    /* freed at the end */
  size_t blocks;
} run;

static void *fresh(run *r, size_t bytes) {
  CHECK(r->blocks < sizeof r->memory / sizeof r->memory[0]);
  return aligned(bytes, &r->memory[r->blocks++]);
}

static void *reals(run *r, size_t n) {
  return fresh(r, n * r->real);
}

static double number(uint64_t word, int kind, int scale, fl_dtype dtype) {
  const int single = dtype == FL_FLOAT32;
  const double integer = (double)((int64_t)(word >> 40) - (1 << 23));
  if (kind == TINY) return ldexp(integer, single ? -149 : -1074);
  if (kind == HUGE_) return ldexp(integer, single ? 104 : 1000);
  if (kind == SPECIAL && !(word & 15)) {
    const double picked[] = {0,
                             -0.0,
                             INFINITY,
                             -INFINITY,
                             NAN,
                             ldexp(1, single ? -149 : -1074),
                             single ? -(double)FLT_MIN : -DBL_MIN,
                             single ? (double)FLT_MAX : DBL_MAX};
    return picked[(word >> 4) % 8];
  }
  return ldexp(integer, scale - 23);
}

static void *numbers(run *r, unsigned stream, size_t n, int kind, int scale) {
  char *const made = reals(r, n);
  for (size_t j = 0; j < n; j++) {
    const uint64_t word = mix((j + 1) * GOLDEN + ((uint64_t)stream << 40));
    if (r->dtype == FL_FLOAT32) {
      const uint32_t bits = (uint32_t)(word >> 32);
      const float value = kind == WIDE ? 0 : (float)number(word, kind, scale, r->dtype);
      memcpy(made + j * r->real, kind == WIDE ? (const void *)&bits : &value, r->real);
    } else {
      const double value = kind == WIDE ? 0 : number(word, kind, scale, r->dtype);
      memcpy(made + j * r->real, kind == WIDE ? (const void *)&word : &value, r->real);
    }
  }
  return made;
}

static void *plain(run *r, unsigned stream, size_t n) {
  return numbers(r, stream, n, PLAIN, 0);
}

/* as the row asks for them */
static void *asked(run *r, unsigned stream, size_t n) {
  return numbers(r, stream, n, FIND(VALUES, r->row->values), r->row->scale);
}

static void out(run *r, const void *data, size_t n) {
  for (size_t j = 0; j < n; j++) {
    uint64_t bits;
    if (r->dtype == FL_FLOAT32) {
      uint32_t narrow;
      memcpy(&narrow, (const char *)data + j * sizeof narrow, sizeof narrow);
      bits = (narrow & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : narrow; /* any NaN is the same */
    } else {
      memcpy(&bits, (const char *)data + j * sizeof bits, sizeof bits);
      if ((bits & 0x7fffffffffffffff) > 0x7ff0000000000000) bits = 0x7ff8000000000000;
    }
    r->hash += mix(bits + mix(++r->count * GOLDEN));
  }
}

/* ---- what rows compute ------------------------------------------------------------------------------------------ */

enum { INPUT = 1, H_0, C_0, GRAD_OUTPUT, GRAD_H, GRAD_C, Z, CELL, PARAMETERS = 16, SESSIONS = 5, MOST_LAYERS = 8 };

typedef struct {
  size_t I, H, R, L, D, T, B, LD, width; /* width: D*R */
  fl_plan *plan;
} layer;

static layer layer_of(run *r) {
  const row *const o = r->row;
  layer a = {
      .I = (size_t)o->I, .H = (size_t)o->H, .L = (size_t)o->L, .D = (size_t)o->D, .T = (size_t)o->T, .B = (size_t)o->B};
  a.R = o->P ? (size_t)o->P : a.H;
  a.LD = a.L * a.D;
  a.width = a.D * a.R;
  CHECK(a.LD <= MOST_LAYERS);
  fl_weights weights[MOST_LAYERS];
  for (unsigned k = 0; k < a.LD; k++) {
    const size_t in = k < a.D ? a.I : a.width,
                 sizes[] = {4 * a.H * in,          4 * a.H * a.R,      o->bias ? 4 * a.H : 0,
                            o->bias ? 4 * a.H : 0, (size_t)o->P * a.H, o->peepholes ? 3 * a.H : 0};
    void *at[6];
    for (unsigned j = 0; j < 6; j++)
      at[j] = sizes[j] ? numbers(r, PARAMETERS + 8 * k + j, sizes[j], PLAIN, o->weights) : NULL;
    weights[k] = (fl_weights){.weight_ih = at[0],
                              .weight_hh = at[1],
                              .bias_ih = at[2],
                              .bias_hh = at[3],
                              .weight_hr = at[4],
                              .weight_ph = at[5]};
  }
  const fl_config config = {r->dtype, a.I, a.H, (size_t)o->P, a.L, a.D, &o->form, o->type};
  CHECK(fl_plan_create(&a.plan, &config, weights, r->isa) == FL_OK);
  CHECK(!strcmp(fl_plan_isa(a.plan), r->isa));
  return a;
}

static fl_sequence sequence_of(run *r, const layer *a) {
  const row *const o = r->row;
  const size_t real = r->real, T = a->T, B = a->B;
  fl_sequence s = {.T = T,
                   .B = B,
                   .input = asked(r, INPUT, T * B * a->I),
                   .output = reals(r, T * B * a->width),
                   .h_0 = o->hx ? plain(r, H_0, a->LD * B * a->R) : NULL,
                   .c_0 = o->hx ? plain(r, C_0, a->LD * B * a->H) : NULL,
                   .h_n = reals(r, a->LD * B * a->R),
                   .c_n = reals(r, a->LD * B * a->H)};
  const size_t t = o->batch_first ? 1 : B, b = o->batch_first ? T : 1; /* rows from a step, a sequence to the next */
  s.input_t = (ptrdiff_t)(t * a->I * real);
  s.input_b = (ptrdiff_t)(b * a->I * real);
  s.output_t = (ptrdiff_t)(t * a->width * real);
  s.output_b = (ptrdiff_t)(b * a->width * real);
  if (o->lengths) {
    int64_t *const lengths = fresh(r, B * sizeof *lengths);
    for (size_t k = 0; k < B; k++) lengths[k] = (int64_t)(k * 5 % (T + 1));
    s.lengths = lengths;
  }
  if (o->resets) {
    uint8_t *const resets = fresh(r, T * B);
    for (size_t k = 0; k < T * B; k++) resets[k] = k % 7 == 3;
    s.resets = resets;
    s.resets_t = (ptrdiff_t)B;
    s.resets_b = 1;
  }
  return s;
}

static void results_out(run *r, const layer *a, const fl_sequence *s) {
  out(r, s->output, a->T * a->B * a->width);
  out(r, s->h_n, a->LD * a->B * a->R);
  out(r, s->c_n, a->LD * a->B * a->H);
}

static void run_activation(run *r) {
  const size_t n = (size_t)r->row->n;
  void *const x = asked(r, INPUT, n), *const y = reals(r, n);
  const int tanh = !strcmp(r->row->name, "tanh");
  CHECK((tanh ? fl_tanh : fl_sigmoid)(r->isa, r->dtype, x, y, n) == FL_OK);
  out(r, y, n);
}

static void run_gates(run *r) {
  const size_t rows = (size_t)r->row->rows, units = (size_t)r->row->units, n = rows * units;
  void *const z = asked(r, Z, 4 * n), *const c = asked(r, CELL, n);
  void *const c_next = reals(r, n), *const h = reals(r, n), *const gates = reals(r, 4 * n), *const dz = reals(r, 4 * n);
  CHECK(fl_gates_forward(r->isa, r->dtype, rows, units, z, c, c_next, h) == FL_OK);
  out(r, h, n);
  out(r, c_next, n);
  CHECK(fl_gates_train(r->isa, r->dtype, rows, units, z, c, c_next, h, gates) == FL_OK);
  out(r, h, n);
  out(r, c_next, n);
  out(r, gates, 4 * n);
  void *const dh = plain(r, GRAD_H, n), *const dc = plain(r, GRAD_C, n);
  CHECK(fl_gates_backward(r->isa, r->dtype, rows, units, gates, c, c_next, dh, dz, dc) == FL_OK);
  out(r, dz, 4 * n);
  out(r, dc, n);
}

static void run_forward(run *r) {
  const layer a = layer_of(r);
  const fl_sequence s = sequence_of(r, &a);
  CHECK(fl_forward(a.plan, &s, NULL, fresh(r, fl_workspace_size(a.plan, a.T, a.B, 1))) == FL_OK);
  results_out(r, &a, &s);
  fl_plan_destroy(a.plan);
}

/* the gradients of all parameters, laid out in `sizes` as they come out */
static void gradients_of(run *r, const layer *a, fl_weight_gradients *weights, size_t (*sizes)[5]) {
  const row *const o = r->row;
  for (size_t k = 0; k < a->LD; k++) {
    const size_t in = k < a->D ? a->I : a->width;
    const size_t n[5] = {4 * a->H * in, 4 * a->H * a->R, o->bias ? 4 * a->H : 0, (size_t)o->P * a->H,
                         o->peepholes ? 3 * a->H : 0};
    void *at[5];
    for (size_t j = 0; j < 5; j++) at[j] = n[j] ? reals(r, n[j]) : NULL;
    memcpy(sizes[k], n, sizeof n);
    weights[k] = (fl_weight_gradients){at[0], at[1], at[2], at[3], at[4]};
  }
}

static void run_backward(run *r) {
  const layer a = layer_of(r);
  const fl_sequence s = sequence_of(r, &a);
  const size_t n = a.T * a.B, states = a.LD * a.B;
  size_t steps = n;
  for (size_t b = steps = s.lengths ? 0 : n; s.lengths && b < a.B; b++) steps += (size_t)s.lengths[b];
  const double dropout = a.L > 1 ? r->row->dropout / 256.0 : 0;
  void *const memory = fresh(r, fl_tape_size(a.plan, a.T, a.B, steps, dropout > 0, s.resets != NULL));
  fl_tape *const tape = fl_tape_init(a.plan, &s, dropout, 7, 0, memory);
  CHECK(tape);
  CHECK(fl_forward_train(&s, tape, NULL, fresh(r, fl_workspace_size(a.plan, a.T, a.B, 1))) == FL_OK);
  results_out(r, &a, &s);
  fl_weight_gradients weights[MOST_LAYERS];
  size_t sizes[MOST_LAYERS][5];
  gradients_of(r, &a, weights, sizes);
  const fl_gradients g = {plain(r, GRAD_OUTPUT, n * a.width),
                          plain(r, GRAD_H, states * a.R),
                          plain(r, GRAD_C, states * a.H),
                          reals(r, n * a.I),
                          reals(r, states * a.R),
                          reals(r, states * a.H),
                          weights};
  CHECK(fl_backward(tape, &g, NULL, fresh(r, fl_backward_size(tape, 1))) == FL_OK);
  out(r, g.input, n * a.I);
  out(r, g.h_0, states * a.R);
  out(r, g.c_0, states * a.H);
  for (size_t k = 0; k < a.LD; k++) {
    void *const at[5] = {weights[k].weight_ih, weights[k].weight_hh, weights[k].bias, weights[k].weight_hr,
                         weights[k].weight_ph};
    for (size_t j = 0; j < 5; j++) out(r, at[j], sizes[k][j]);
  }
  fl_plan_destroy(a.plan);
}

static void run_stream(run *r) {
  const layer a = layer_of(r);
  const char *const x = asked(r, INPUT, a.T * a.B * a.I);
  void *const y = reals(r, a.B * a.R), *const h = plain(r, H_0, a.LD * a.B * a.R),
              *const c = plain(r, C_0, a.LD * a.B * a.H);
  fl_stream *const stream = fl_stream_init(a.plan, a.B, fresh(r, fl_stream_size(a.plan, a.B)));
  CHECK(stream);
  fl_stream_set(stream, h, c);
  for (size_t t = 0; t < a.T; t++) {
    fl_stream_step(stream, x + t * a.B * a.I * r->real, y);
    out(r, y, a.B * a.R);
  }
  fl_stream_get(stream, h, c);
  out(r, h, a.LD * a.B * a.R);
  out(r, c, a.LD * a.B * a.H);
  fl_plan_destroy(a.plan);
}

/* the state of session s, out of or into [L, SESSIONS, n] */
static void copy_states(const run *r, const layer *a, size_t s, char *one, const char *all, size_t n) {
  for (size_t l = 0; l < a->L; l++) memcpy(one + l * n * r->real, all + (l * SESSIONS + s) * n * r->real, n * r->real);
}

/* session s rests at step t when t + s is a multiple of 3 */
static void run_sessions(run *r) {
  const layer a = layer_of(r);
  const char *const x = asked(r, INPUT, a.T * SESSIONS * a.I);
  const char *const h_0 = plain(r, H_0, a.L * SESSIONS * a.R), *const c_0 = plain(r, C_0, a.L * SESSIONS * a.H);
  char *const h = reals(r, a.L * a.R), *const c = reals(r, a.L * a.H);
  char *const busy_x = reals(r, SESSIONS * a.I), *const y = reals(r, SESSIONS * a.R);
  void *const workspace = fresh(r, fl_sessions_workspace(a.plan, SESSIONS, 1));
  fl_sessions *const sessions = fl_sessions_init(a.plan, SESSIONS, fresh(r, fl_sessions_size(a.plan, SESSIONS)));
  CHECK(sessions);
  for (size_t s = 0; s < SESSIONS; s++) {
    copy_states(r, &a, s, h, h_0, a.R);
    copy_states(r, &a, s, c, c_0, a.H);
    fl_sessions_set(sessions, s, h, c);
  }
  const size_t bytes = a.I * r->real;
  for (size_t t = 0; t < a.T; t++) {
    size_t slots[SESSIONS], n = 0;
    for (size_t s = 0; s < SESSIONS; s++) {
      if ((t + s) % 3 == 0) continue;
      memcpy(busy_x + n * bytes, x + (t * SESSIONS + s) * bytes, bytes);
      slots[n++] = s;
    }
    fl_sessions_step(sessions, n, slots, busy_x, (ptrdiff_t)bytes, y, NULL, workspace);
    out(r, y, n * a.R);
  }
  for (size_t s = 0; s < SESSIONS; s++) {
    fl_sessions_get(sessions, s, h, c);
    out(r, h, a.L * a.R);
    out(r, c, a.L * a.H);
  }
  fl_plan_destroy(a.plan);
}

static void run_cell(run *r) {
  const layer a = layer_of(r);
  const char *const x = asked(r, INPUT, a.T * a.B * a.I);
  void *h = plain(r, H_0, a.B * a.H), *h_next = reals(r, a.B * a.H), *const c = plain(r, C_0, a.B * a.H);
  void *const workspace = fresh(r, fl_cell_size(a.plan, a.B));
  for (size_t t = 0; t < a.T; t++) {
    fl_cell(a.plan, a.B, x + t * a.B * a.I * r->real, h, c, h_next, c, workspace);
    out(r, h_next, a.B * a.H);
    out(r, c, a.B * a.H);
    void *const old = h;
    h = h_next;
    h_next = old;
  }
  fl_plan_destroy(a.plan);
}

typedef struct {
  const char *kind;
  void (*compute)(run *); /* NULL: only Python has it */
} group;

static const group groups[] = {
    {"activation", run_activation},
    {"gates", run_gates},
    {"forward", run_forward},
    {"backward", run_backward},
    {"stream", run_stream},
    {"sessions", run_sessions},
    {"cell", run_cell},
    {"chunks", NULL},
    {"window", NULL},
    {"initial", NULL},
};

static const group *group_of(const row *o) {
  for (size_t k = 0; k < sizeof groups / sizeof groups[0]; k++)
    if (!strcmp(groups[k].kind, o->kind)) return &groups[k];
  fprintf(stderr, "frozen_bits: an unknown kind in the table: %s\n", o->kind);
  exit(1);
}

static uint64_t computed(const row *o, fl_dtype dtype, const char *isa, void (*compute)(run *)) {
  static run r;
  r = (run){.row = o, .dtype = dtype, .isa = isa, .real = (size_t)dtype / 8};
  compute(&r);
  while (r.blocks) free(r.memory[--r.blocks]);
  return r.hash;
}

static const char *only; /* the instruction set that is asked for; NULL: all */

/* the next one to run, from the k-th on, and after it the next k; those for integers alone only where there are any */
static const char *next_isa(size_t *k, int integers) {
  const char *name;
  while ((name = (integers || only ? fl_integer_isa_name : fl_isa_name)((*k)++)) && only && strcmp(name, only))
    continue;
  return name;
}

/* whether they give the row's hashes */
static int agrees(const row *o, const group *g, size_t line) {
  const int integers = o->type == FL_WEIGHTS_INT8 || o->type == FL_WEIGHTS_INT8_FAST;
  int good = 1;
  const char *isa;
  for (size_t k = 0; (isa = next_isa(&k, integers));)
    for (int wide = 0; wide < (o->type == FL_WEIGHTS_REAL ? 2 : 1); wide++) {
      const uint64_t got = computed(o, wide ? FL_FLOAT64 : FL_FLOAT32, isa, g->compute);
      if (got == o->hash[wide]) continue;
      fprintf(stderr, "line %zu, %s, float%d on %s: %016llx, expected %016llx\n", line, o->kind, wide ? 64 : 32, isa,
              (unsigned long long)got, (unsigned long long)o->hash[wide]);
      good = 0;
    }
  return good;
}

int main(int count, char **arguments) {
  FILE *const table = count == 2 || count == 3 ? fopen(arguments[1], "r") : NULL;
  only = count == 3 ? arguments[2] : NULL;
  if (!table || (only && !fl_isa_description(only))) {
    fprintf(stderr, "usage: frozen_bits tests/data/frozen_bits.txt [an instruction set of this machine]\n");
    return 2;
  }
  size_t rows = 0, wrong = 0, number_of_line = 0;
  for (char line[512]; fgets(line, sizeof line, table);) {
    row o;
    number_of_line++;
    if (!read_row(line, &o)) continue;
    const group *const g = group_of(&o);
    if (!g->compute || o.keep_every || (o.batch_first && g->compute == run_backward)) continue; /* Python's alone */
    rows++;
    wrong += !agrees(&o, g, number_of_line);
  }
  fclose(table);
  printf("frozen bits: %zu groups on", rows);
  const char *isa;
  for (size_t k = 0; (isa = next_isa(&k, 1));) printf(" %s", isa);
  printf("; %zu differ\n", wrong);
  return wrong > 0 || rows < 100;
}
