/* What a layer's input comes to, for every one of V inputs: the part of z that needs no state, X = b + W x of the first
 * layer, kept in the order of the panels, so that a row of it is a row of z.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_TABLE_H
#define FASTLSTM_TABLE_H

#include <assert.h>
#include "plan.h"

struct fl_table {
  const fl_plan *plan;
  size_t V;
  int filled;
  real *rows; /* [D][V][panels][FL_PANEL] */
};

/* reals of a row */
static inline size_t fl_table_width(const fl_plan *plan) {
  return plan->panels * FL_PANEL;
}

#ifdef REAL_BITS
/* the rows of a direction */
static inline const real *fl_table_of(const fl_table *table, int reverse) {
  return table->rows + (reverse ? table->V * fl_table_width(table->plan) : 0);
}

static inline const real *fl_table_row(const fl_plan *plan, const real *rows, int64_t token) {
  return rows + (size_t)token * fl_table_width(plan);
}
#endif

/* Every token is one: what api.c checks. */
static inline int fl_is_token(const fl_table *table, int64_t token) {
  return token >= 0 && (uint64_t)token < table->V;
}

#endif
