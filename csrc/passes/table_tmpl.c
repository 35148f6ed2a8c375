/* Tables: the input's part of the pre-activations, for every input that there is.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "table.h"

#include "base/arena.h"
#include "base/fpenv.h"
#include "base/threads.h"

enum { TOKENS = 96 }; /* in a block: tiles of 6 and 12 rows, and few enough that their inputs stay in a cache */

static fl_table *carve_table(const fl_plan *plan, size_t V, fl_arena *arena) {
  fl_table made = {.plan = plan, .V = V};
  size_t count;
  if (!fl_multiply(plan->D * plan->panels, V, &count)) {
    arena->overflow = 1;
    return NULL;
  }
  fl_table *const there = fl_carve(arena, 1, sizeof made);
  made.rows = fl_carve(arena, count, FL_PANEL * sizeof(real));
  if (there) *there = made;
  return there;
}

size_t TYPED(measure_table)(const fl_plan *plan, size_t V) {
  fl_arena arena = {0};
  carve_table(plan, V, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

fl_table *TYPED(make_table)(const fl_plan *plan, size_t V, void *memory) {
  assert(V && memory);
  fl_arena arena = {.at = memory};
  fl_table *const table = carve_table(plan, V, &arena);
  assert(table && !arena.overflow);
  return table;
}

typedef struct {
  fl_table *table;
  const void *x;
  ptrdiff_t row; /* bytes from an input to the next */
} table_call;

/* n tokens from `first` on, in one direction; as few panels at a time as soon end */
static void fill_tokens(const table_call *call, size_t d, size_t first, size_t n, fl_member *member) {
  const fl_plan *const plan = call->table->plan;
  const fl_layer *const layer = &plan->layers[d];
  const size_t width = fl_table_width(plan), work = n * layer->input_size * FL_PANEL;
  const size_t most = fl_short_calls(member, plan->panels, work);
  real *const rows = call->table->rows + (d * call->table->V + first) * width;
  const void *x[TOKENS];
  void *z[TOKENS];
  for (size_t r = 0; r < n; r++) {
    x[r] = (const char *)call->x + (ptrdiff_t)(first + r) * call->row;
    z[r] = rows + r * width;
  }
  fl_product product = {.m = n,
                        .operand = {{x, layer->input_size}},
                        .weights = layer->weights,
                        .weights_panel = fl_weights_panel(plan, layer->input_size),
                        .start = layer->bias,
                        .z = z,
                        .z_panel = FL_PANEL,
                        .skip_zeros = layer->skip_zeros};
  for (size_t p = 0; p < plan->panels && !fl_halted(member, most * work); p = product.last) {
    product.first = p;
    product.last = plan->panels - p < most ? plan->panels : p + most;
    plan->kernels.product(&product);
  }
}

static void fill_blocks(void *argument, fl_member *member) {
  const table_call *const call = argument;
  const size_t V = call->table->V, blocks = (V + TOKENS - 1) / TOKENS;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t block; fl_next(member, call->table->plan->D * blocks, &block);) {
    const size_t first = block % blocks * TOKENS;
    fill_tokens(call, block / blocks, first, V - first < TOKENS ? V - first : TOKENS, member);
  }
  fl_fpenv_leave(caller);
}

fl_status TYPED(fill_table)(fl_table *table, const void *rows, ptrdiff_t row, fl_pool *pool, const fl_cancel *cancel) {
  assert(!table->filled && rows);
  table_call call = {table, rows, row};
  const fl_status status = fl_pool_run(pool, fl_pool_useful(pool), fill_blocks, &call, cancel);
  table->filled = status == FL_OK;
  return status;
}
