/* The only file that knows the panel order: weights in, transposes, gradients out.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "pack.h"

#include <assert.h>
#include <string.h>
#include "base/arena.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "kernels/half.h"
#include "kernels/quantise.h"

/* Where lane `at`, counted through all panels, is in the natural order: 4H rows, gate by gate. 0: past the last
 * unit. */
static int natural_row(const fl_plan *plan, size_t at, size_t *row) {
  const size_t gate = at % FL_PANEL / FL_UNITS, unit = at / FL_PANEL * FL_UNITS + at % FL_UNITS;
  *row = gate * plan->H + unit;
  return unit < plan->H;
}

/* Is it of the forget gate of a form that has none? Zero, whatever the weights are. */
static int is_coupled(const fl_plan *plan, size_t at) {
  return plan->form && plan->form->coupled && at % FL_PANEL / FL_UNITS == 1;
}

/* ---- weights in ------------------------------------------------------------------------------------------------- */

/* A row of a matrix: reals, or, in a plan of 8 bits, the caller's integers. Neither: past the last unit, or the weights
 * of a gate that the form has not. */
typedef struct {
  const real *reals;
  const fl_integers *integers;
  size_t at; /* its number among the integers' rows */
} weight_row;

static weight_row row_of(const real *reals, const fl_integers *integers, size_t at, size_t k) {
  return (weight_row){reals ? reals + at * k : NULL, integers, at};
}

#ifdef WEIGHT_INT8
/* Where the integers of a lane go: its scale, its offset, its groups (kernels/integers.h). */
typedef struct {
  uint8_t *panel;
  size_t lane;
} integer_lane;

static void put_header(integer_lane to, float scale, uint8_t offset) {
  const int32_t wide = offset;
  memcpy(to.panel + to.lane * sizeof scale, &scale, sizeof scale);
  memcpy(to.panel + (FL_PANEL + to.lane) * sizeof wide, &wide, sizeof wide);
}

static void put_integer(integer_lane to, size_t j, uint8_t q) {
  to.panel[HEADER_ROWS * FL_PANEL + (j / GROUP * FL_PANEL + to.lane) * GROUP + j % GROUP] = q;
}

/* 0 where a number is not finite */
static int round_lane(integer_lane to, const real *row, size_t k) {
  float scale;
  const int finite = fl_scale_of(row, row ? k : 0, &scale);
  put_header(to, scale, FL_OFFSET);
  for (size_t j = 0; j < WEIGHT_ROWS(k) - HEADER_ROWS; j++)
    put_integer(to, j, (uint8_t)(FL_OFFSET + (row && j < k && finite ? fl_integer_of(row[j], scale) : 0)));
  return finite;
}

/* as they are; 0 for a scale that is none */
static int copy_lane(integer_lane to, const fl_integers *from, size_t row, size_t k) {
  const uint8_t flip = from->is_signed ? FL_OFFSET : 0, *const values = (const uint8_t *)from->values + row * k;
  const uint8_t offset = (from->offsets ? ((const uint8_t *)from->offsets)[row] : 0) ^ flip;
  const float scale = from->scales[row];
  int largest = 0;
  put_header(to, scale, offset);
  for (size_t j = 0; j < WEIGHT_ROWS(k) - HEADER_ROWS; j++) {
    const uint8_t q = j < k ? values[j] ^ flip : offset;
    const int size = q > offset ? q - offset : offset - q;
    if (size > largest) largest = size;
    put_integer(to, j, q);
  }
  return fl_is_scale(scale, largest);
}

static int pack_panel(fl_weight_type type, weight *to, const weight_row *row, size_t k) {
  int fit = 1;
  (void)type;
  for (size_t lane = 0; lane < FL_PANEL; lane++) {
    const integer_lane at = {to, lane};
    fit &= row[lane].integers ? copy_lane(at, row[lane].integers, row[lane].at, k) : round_lane(at, row[lane].reals, k);
  }
  return fit;
}
#else
/* what v_weights reads again; 0 where it does not fit */
static int store(fl_weight_type type, real x, weight *row, size_t lane) {
#if WEIGHTS_ARE_REALS
  (void)type;
  row[lane] = x;
  return 1;
#else
  return type == FL_WEIGHTS_FLOAT16 ? fl_to_float16(x, row + lane) : fl_to_bfloat16(x, row + FL_BFLOAT16_AT(lane));
#endif
}

/* to[k][lane] = row[lane][k], lanes without a row (past the last unit) left as they are: zero. 0 where one does not
 * fit. */
static int pack_panel(fl_weight_type type, weight *to, const weight_row *row, size_t k) {
  int fit = 1;
  for (size_t j = 0; j < k; j++)
    for (size_t lane = 0; lane < FL_PANEL; lane++)
      if (row[lane].reals) fit &= store(type, row[lane].reals[j], to + j * FL_PANEL, lane);
  return fit;
}
#endif

/* not inlined: its additions must stay between the two writes of the floating-point environment */
NOINLINE void TYPED(pack_bias)(const fl_plan *plan, const fl_weights *weights, real *bias) {
  const real *const ih = weights->bias_ih, *const hh = weights->bias_hh;
  for (size_t at = 0, row; at < plan->panels * FL_PANEL; at++)
    if (natural_row(plan, at, &row) && !is_coupled(plan, at))
      bias[at] = (ih ? ih[row] : 0) + (hh ? hh[row] : 0) + 0; /* never -0 */
}

static int pack_gates(const fl_plan *plan, size_t I, const fl_weights *weights, weight *packed) {
  const size_t R = plan->R;
  int fit = 1;
  for (size_t p = 0; p < plan->panels; p++, packed += fl_weights_panel(plan, I)) {
    weight_row ih[FL_PANEL] = {{0}}, hh[FL_PANEL] = {{0}};
    for (size_t lane = 0, row; lane < FL_PANEL; lane++) {
      if (!natural_row(plan, p * FL_PANEL + lane, &row) || is_coupled(plan, p * FL_PANEL + lane)) continue;
      ih[lane] = row_of(weights->weight_ih, weights->integers_ih, row, I);
      hh[lane] = row_of(weights->weight_hh, weights->integers_hh, row, R);
    }
    fit &=
        pack_panel(plan->weights, packed, ih, I) & pack_panel(plan->weights, packed + WEIGHT_ROWS(I) * FL_PANEL, hh, R);
  }
  return fit;
}

#if WEIGHTS_ARE_REALS
/* Is all of W finite, as it is packed? A difference of what is not is NaN. */
static int has_finite_input(const fl_plan *plan, const fl_layer *layer) {
  const weight *w = layer->weights;
  int finite = 1;
  for (size_t p = 0; p < plan->panels; p++, w += fl_weights_panel(plan, layer->input_size))
    for (size_t k = 0; k < layer->input_size * FL_PANEL; k++) finite &= w[k] - w[k] == 0;
  return finite;
}
#else
static int has_finite_input(const fl_plan *plan, const fl_layer *layer) {
  (void)plan, (void)layer; /* nothing else has been packed */
#ifdef WEIGHT_INT8
  return 0; /* four inputs share a group: leaving one out saves little */
#else
  return 1;
#endif
}
#endif

static int pack_projection(const fl_plan *plan, const fl_weights *weights, weight *packed) {
  int fit = 1;
  for (size_t p = 0; p < plan->project_panels; p++) {
    weight_row row[FL_PANEL] = {{0}};
    for (size_t lane = 0; lane < FL_PANEL && p * FL_PANEL + lane < plan->P; lane++)
      row[lane] = row_of(weights->weight_hr, weights->integers_hr, p * FL_PANEL + lane, plan->H);
    fit &= pack_panel(plan->weights, packed + p * FL_PANEL * WEIGHT_ROWS(plan->H), row, plan->H);
  }
  return fit;
}

static void pack_peepholes(const fl_plan *plan, const fl_weights *weights, real *to) {
  const real *const weight_ph = weights->weight_ph;
  for (size_t gate = 0; gate < 3; gate++) /* i, f, o */
    if (!(gate == 1 && plan->form->coupled))
      memcpy(to + gate * plan->H, weight_ph + gate * plan->H, plan->H * sizeof(real));
}

/* ---- the plan's block ------------------------------------------------------------------------------------------- */

/* one layer's parts, carved in this order */
typedef struct {
  real *bias, *peephole;
  weight *weights, *project;
} parts;

static parts carve_parts(const fl_plan *plan, size_t input_size, fl_arena *arena) {
  const size_t panel = FL_PANEL * sizeof(weight);
  size_t gates = 0, projection = 0;
  if (input_size > (size_t)PTRDIFF_MAX / 2 - plan->R ||
      !fl_multiply(plan->panels, WEIGHT_ROWS(input_size) + WEIGHT_ROWS(plan->R), &gates) ||
      !fl_multiply(plan->project_panels, WEIGHT_ROWS(plan->H), &projection))
    arena->overflow = 1;
  parts made = {.bias = fl_carve(arena, plan->panels, FL_PANEL * sizeof(real)),
                .weights = fl_carve(arena, gates, panel),
                .project = fl_carve(arena, projection, panel)};
  if (fl_has_peepholes(plan)) made.peephole = fl_carve(arena, 3 * plan->H, sizeof(real));
  return made;
}

static size_t input_size_of(const fl_plan *plan, size_t index) {
  return index < plan->D ? plan->I : plan->D * plan->R;
}

size_t TYPED(measure_plan)(const fl_plan *plan) {
  fl_arena arena = {0};
  if (plan->D * plan->R < plan->R) return SIZE_MAX;
  for (size_t j = 0; j < plan->L * plan->D && !arena.overflow; j++) carve_parts(plan, input_size_of(plan, j), &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

/* everything into the block, which is zeroed: so are the lanes past the last unit */
int TYPED(pack_plan)(fl_plan *plan, const fl_weights *weights) {
  int fit = 1;
  fl_arena arena = {.at = plan->block};
  const fl_fpenv caller = fl_fpenv_enter(); /* adding two biases rounds */
  for (size_t j = 0; j < plan->L * plan->D; j++) {
    fl_layer *const layer = &plan->layers[j];
    layer->input_size = input_size_of(plan, j);
    const parts made = carve_parts(plan, layer->input_size, &arena);
    TYPED(pack_bias)(plan, &weights[j], made.bias);
    fit &= pack_gates(plan, layer->input_size, &weights[j], made.weights);
    if (plan->P) fit &= pack_projection(plan, &weights[j], made.project);
    if (made.peephole) pack_peepholes(plan, &weights[j], made.peephole);
    layer->bias = made.bias;
    layer->weights = made.weights;
    layer->project = plan->P ? made.project : NULL;
    layer->peephole = made.peephole;
    layer->skip_zeros = j < plan->D && has_finite_input(plan, layer);
  }
  fl_fpenv_leave(caller);
  assert(!arena.overflow && arena.used == plan->bytes);
  return fit;
}

#if WEIGHTS_ARE_REALS
/* ---- transposes, for the backward pass -------------------------------------------------------------------------- */

void TYPED(transpose)(const fl_transposed *matrix, size_t panel) {
  for (size_t q = 0; q < fl_panels_of(matrix->k); q++) {
    const size_t width = matrix->k - q * FL_PANEL < FL_PANEL ? matrix->k - q * FL_PANEL : FL_PANEL;
    const weight *const from = matrix->packed + (panel * matrix->panel_k + matrix->k0 + q * FL_PANEL) * FL_PANEL;
    weight *const to = matrix->out + (q * matrix->out_k + panel * FL_PANEL) * FL_PANEL;
    for (size_t lane = 0; lane < FL_PANEL; lane++)
      for (size_t column = 0; column < FL_PANEL; column++)
        to[lane * FL_PANEL + column] = column < width ? from[column * FL_PANEL + lane] : 0;
  }
}

void TYPED(transpose_projection)(const fl_plan *plan, const weight *packed, weight *out) {
  const size_t H = plan->H, P = plan->P;
  for (size_t u = 0; u < fl_panels_of(H) * FL_PANEL; u++)
    for (size_t p = 0; p < P; p++)
      out[(u / FL_PANEL * P + p) * FL_PANEL + u % FL_PANEL] =
          u < H ? packed[(p / FL_PANEL * H + u) * FL_PANEL + p % FL_PANEL] : 0;
}

/* ---- gradients and gates out ------------------------------------------------------------------------------------ */

void TYPED(unpack)(const fl_plan *plan, const real *packed, size_t packed_row, size_t first, size_t last,
                   size_t columns, real *out) {
  for (size_t at = first, row; at < last; at++) {
    if (!natural_row(plan, at, &row)) continue;
    if (!is_coupled(plan, at))
      memcpy(out + row * columns, packed + at * packed_row, columns * sizeof(real));
    else /* zero, also where 0 met NaN or infinity */
      memset(out + row * columns, 0, columns * sizeof(real));
  }
}

void TYPED(unpack_gate)(const fl_plan *plan, const real *row, size_t gate, real *out) {
  for (size_t u = 0; u < plan->H; u += FL_UNITS) {
    const size_t n = plan->H - u < FL_UNITS ? plan->H - u : FL_UNITS;
    memcpy(out + u, row + u / FL_UNITS * FL_PANEL + gate * FL_UNITS, n * sizeof(real));
  }
}
#endif
