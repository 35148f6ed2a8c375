/* What every object of a layer takes: `sizes dtype weights I H P L D T B V`, a line for each; tests/docs compares them
 * with docs/memory.md.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include "fastlstm.h"

static size_t number(char **argv, int k) {
  return (size_t)strtoul(argv[k], NULL, 10);
}

static fl_plan *make(const fl_config *config) {
  const size_t D = config->directions, R = config->proj_size ? config->proj_size : config->hidden_size;
  const size_t widest = config->input_size > D * R ? config->input_size : D * R;
  const size_t most = 4 * config->hidden_size * (widest > R ? widest : R);
  double *const zeros = calloc(most, sizeof *zeros);
  fl_weights *const weights = calloc(config->num_layers * D, sizeof *weights);
  for (size_t j = 0; zeros && weights && j < config->num_layers * D; j++)
    weights[j] = (fl_weights){.weight_ih = zeros, .weight_hh = zeros, .weight_hr = config->proj_size ? zeros : NULL};
  fl_plan *plan = NULL;
  if (zeros && weights) fl_plan_create(&plan, config, weights, NULL);
  free(zeros);
  free(weights);
  return plan;
}

static size_t backward_size(const fl_plan *plan, const fl_config *config, size_t T, size_t B) {
  const size_t size = fl_tape_size(plan, T, B, T * B, 0, 0);
  double *const x = calloc(T * B * config->input_size, sizeof *x);
  void *const memory = aligned_alloc(64, size);
  const fl_sequence sequence = {.T = T, .B = B, .input = x, .output = x, .h_n = x, .c_n = x};
  const fl_tape *const tape = x && memory ? fl_tape_init(plan, &sequence, 0, 0, 0, memory) : NULL;
  const size_t needed = fl_backward_size(tape, 1);
  free(memory);
  free(x);
  return needed;
}

int main(int argc, char **argv) {
  if (argc != 11) return 2;
  const fl_config config = {.dtype = (fl_dtype)number(argv, 1),
                            .weights = (fl_weight_type)number(argv, 2),
                            .input_size = number(argv, 3),
                            .hidden_size = number(argv, 4),
                            .proj_size = number(argv, 5),
                            .num_layers = number(argv, 6),
                            .directions = number(argv, 7)};
  const size_t T = number(argv, 8), B = number(argv, 9), V = number(argv, 10);
  fl_plan *const plan = make(&config);
  if (!plan) return 1;
  printf("plan %zu\n", fl_plan_size(plan));
  printf("table %zu\n", fl_table_size(plan, V));
  printf("call %zu\n", fl_workspace_size(plan, T, B, 1));
  if (config.weights == FL_WEIGHTS_REAL) {
    printf("tape %zu\n", fl_tape_size(plan, T, B, T * B, 0, 0));
    printf("gradient %zu\n", backward_size(plan, &config, T, B));
  }
  if (config.directions == 1) {
    printf("stream %zu\n", fl_stream_size(plan, B));
    printf("sessions %zu\n", fl_sessions_size(plan, V));
    printf("advance %zu\n", fl_sessions_advance_size(plan, V));
    printf("window %zu\n", fl_window_size(plan, T, 1));
  }
  fl_plan_destroy(plan);
  return 0;
}
