/* SPDX-License-Identifier: BSD-3-Clause */
#include "plugin.h"
#include <fastlstm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* a block goes in and a block comes out: 64 -> 128 units, projected to 64 */
enum { UNITS = 128 };

struct plugin {
  fl_plan *plan; /* shared: it is immutable */
  fl_stream *stream[CHANNELS];
  void *memory[CHANNELS]; /* of the streams, as malloc gave it */
};

/* Memory on a line of its own, as the library wants it; every page is written to. The caller frees *raw. */
static void *aligned(size_t bytes, void **raw) {
  *raw = bytes < SIZE_MAX - 64 ? malloc(bytes + 64) : NULL;
  if (!*raw) return NULL;
  memset(*raw, 0, bytes + 64);
  return (void *)(((uintptr_t)*raw + 63) & ~(uintptr_t)63);
}

/* uniform in [-bound, bound) */
static void draw(float *to, size_t n, float bound) {
  static uint32_t state = 1;
  for (size_t j = 0; j < n; j++) {
    state = state * 1664525u + 1013904223u;
    to[j] = ((float)(state >> 8) / 8388608.0f - 1.0f) * bound;
  }
}

static fl_plan *create_plan(void) {
  const fl_config config = {.dtype = FL_FLOAT32,
                            .input_size = BLOCK,
                            .hidden_size = UNITS,
                            .proj_size = BLOCK,
                            .num_layers = 1,
                            .directions = 1};
  enum { IH = 4 * UNITS * BLOCK, HH = 4 * UNITS * BLOCK, BIAS = 4 * UNITS, HR = BLOCK * UNITS };
  float *const all = malloc((IH + HH + 2 * BIAS + HR) * sizeof *all);
  if (!all) return NULL;
  draw(all, IH + HH + 2 * BIAS + HR, 0.1f);
  const fl_weights weights = {.weight_ih = all,
                              .weight_hh = all + IH,
                              .bias_ih = all + IH + HH,
                              .bias_hh = all + IH + HH + BIAS,
                              .weight_hr = all + IH + HH + 2 * BIAS};
  fl_plan *plan = NULL;
  const fl_status status = fl_plan_create(&plan, &config, &weights, NULL); /* has a copy of them */
  free(all);
  return status == FL_OK ? plan : NULL;
}

plugin *plugin_create(void) {
  plugin *const p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->plan = create_plan();
  for (size_t k = 0; p->plan && k < CHANNELS; k++) {
    void *const memory = aligned(fl_stream_size(p->plan, 1), &p->memory[k]);
    if (memory) p->stream[k] = fl_stream_init(p->plan, 1, memory);
  }
  for (size_t k = 0; k < CHANNELS; k++)
    if (!p->stream[k]) {
      plugin_destroy(p);
      return NULL;
    }
  return p;
}

void plugin_destroy(plugin *p) {
  for (size_t k = 0; k < CHANNELS; k++) free(p->memory[k]);
  fl_plan_destroy(p->plan);
  free(p);
}

void plugin_process(plugin *p, const float *const in[CHANNELS], float *const out[CHANNELS]) {
  for (size_t k = 0; k < CHANNELS; k++)
    if (fl_stream_step(p->stream[k], in[k], out[k]) != FL_OK) memset(out[k], 0, BLOCK * sizeof(float));
}

void plugin_between(plugin *p) {
  for (size_t k = 0; k < CHANNELS; k++) (void)fl_stream_advance(p->stream[k]);
}

int plugin_offline(const plugin *p, size_t blocks, const float *in, float *out) {
  const ptrdiff_t row = BLOCK * sizeof(float);
  float h_n[BLOCK], c_n[UNITS];
  const fl_sequence sequence = {.T = blocks,
                                .B = 1,
                                .input = in,
                                .input_t = row,
                                .input_b = row,
                                .output = out,
                                .output_t = row,
                                .output_b = row,
                                .h_n = h_n,
                                .c_n = c_n};
  void *raw, *const workspace = aligned(fl_workspace_size(p->plan, blocks, 1, 1), &raw);
  const fl_status status = workspace ? fl_forward(p->plan, &sequence, NULL, workspace) : FL_ERROR_ARGUMENT;
  free(raw);
  return status == FL_OK ? 0 : -1;
}
