/* The kernels: one list declares them, fills the tables, and is what tests/native/check_kernels.c walks: check and
 * --bench.
 *
 * A kernel is compiled once per instruction set and per real type (kernels_tmpl.c); all of them give the same bits,
 * which tests/native/check_kernels.c asserts of each. Kernels trust their arguments; builds without NDEBUG assert
 * preconditions.h.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_KERNELS_H
#define FASTLSTM_KERNELS_H

#include <stddef.h>
#include "base/compiler.h"
#include "fastlstm.h"

#define FL_LONGEST_INT8 16384 /* k of a row that is rounded to integers: they are on the stack */
#define FL_UNITS 8  /* hidden units in a panel: the granule of packing and of thread splits */
#define FL_PANEL 32 /* reals of a panel per k: 4 gates of 8 units, [i 8][f 8][g 8][o 8] */

/* Rows of a left operand. `rows[r]` points to `k` contiguous reals; rows may be anywhere, so batches, time strides,
 * directions, sorted lengths and resets are all a matter of pointers. Read only. */
typedef struct {
  const void *const *rows; /* [m] pointers to [k] reals, owned by the caller */
  size_t k;                /* reals in a row */
} fl_operand;

/* Sums over k come in pieces: each is one chain of fused multiply-adds from zero over this many k, the last one over
 * what is left; pieces are added in order. Free in speed, and 1.5 to 3.4 times more exact than one chain over all k. */
#define FL_PIECE 128

/* How the pieces of an operand come into z. */
typedef enum {
  FL_NEW,  /* z = start + piece + piece ... */
  FL_MEET, /* z = z + (start + piece + piece ...): z holds another operand's part, and two parts meet in one addition */
  FL_ADD,  /* z = z + piece + piece ...: the backward pass's way; without start */
} fl_into;

/* z[r][p][j]: the pieces of sum_k a[r][k] * weights[p][k][j] of operand[0], as `into` says; then, with FL_MEET, those
 * of operand[1]. */
typedef struct {
  size_t m;              /* rows */
  size_t first, last;    /* panels first <= p < last */
  int down;              /* take them from the last to the first: the same bits, other caches */
  fl_operand operand[2]; /* operand[1].k = 0 where there is only one */
  const void *weights;   /* [panel][k][FL_PANEL] weights, 64-byte aligned: both operands' k one after the other; read */
  size_t weights_panel;  /* weights from a panel to the next */
  const void *start;     /* [panel][FL_PANEL] reals, or NULL: zeros; read */
  void *const
      *z; /* [m] pointers to rows of panels of FL_PANEL reals; written, and read unless it is FL_NEW; no alias */
  size_t z_panel; /* reals from a panel of a row to the next */
  /* For rows that are few, so that packing would cost more than it saves: the matrices of each operand as they come,
   * [4][units][operand.k] reals, in the place of `weights`; NULL: packed. In a step, with `start` and FL_NEW. */
  const void *unpacked[2];
  fl_into into;
  /* The weights that operand[0] meets are finite, and no start is -0: where its rows have many zeros, either of them,
   * the weights of these are not read. Not with FL_ADD, and not unpacked. */
  int skip_zeros;
} fl_product;

/* A product followed by the gates of the same rows and panels:
 * c[r] = f * c_prev[r] + i * g and h[r] = o * tanh(c[r]) for the units of the panels. */
typedef struct {
  fl_product product; /* with FL_NEW, z[] are rows of scratch, FL_STEP_SCRATCH(m) reals: the panels at hand */
  /* [m] pointers to rows of panels, FL_PANEL apart: what one operand comes to, known beforehand. It comes first into z,
   * which is scratch as with FL_NEW, and the only operand meets it there; or, with operand[0].k = 0, it meets what z
   * holds, z_panel apart. Always FL_MEET. Read; NULL for none. */
  const void *const *given;
  size_t units;              /* H: units past it in the last panel are neither read nor written */
  const void *const *c_prev; /* [m] pointers to [H] reals: read; may be c */
  void *const *c;            /* [m] pointers to [H] reals: written */
  void *const *h;            /* [m] pointers to [H] reals: written; must not alias the operands' rows */
  int train;                 /* leave i, f, g, o in z, for the backward pass */
  const fl_form *form;       /* another form of the cell, or NULL; it leaves i, f, g, o in z always */
  const void *peephole;      /* [3][H] reals: p_i, p_f, p_o of the form; read; NULL where it has none */
} fl_step;

/* reals of scratch that a fused step of m rows needs: a group of panels (gates.h) of m rows */
enum { FL_GROUP_ROWS = 16 };
#define FL_STEP_SCRATCH(m) ((size_t)FL_PANEL * ((size_t)(m) > FL_GROUP_ROWS ? (size_t)(m) : FL_GROUP_ROWS))

/* The gates alone, on pre-activations in the natural order: z[r] = [i units][f units][g units][o units]. */
typedef struct {
  size_t rows, units;
  const void *z; /* [rows][4*units] reals, contiguous; read */
  const void *c; /* [rows][units] reals, contiguous; read; may be c_next */
  void *c_next;  /* [rows][units] reals, contiguous; written */
  void *h;       /* [rows][units] reals, contiguous; written; no alias with the others */
} fl_gates;

/* The gates of one time step, backwards; panels first <= p < last. */
typedef struct {
  size_t m, units;
  size_t first, last;
  void *const *z;            /* [m] pointers to rows of panels, FL_PANEL apart: i, f, g, o in, their gradients out */
  const void *const *c_prev; /* [m] pointers to [H] reals: read */
  const void *const *c;      /* [m] pointers to [H] reals: read */
  const void *const *dh;     /* [m] pointers to [H] reals: the whole gradient of h; read */
  void *const *dc;           /* [m] pointers to [H] reals: the gradient of c from later steps in, of c_prev out */
  void *const *hidden;       /* [m] pointers to [H] reals, or NULL: o tanh(c), written, for a projection's gradient */
  const fl_form *form;       /* as in fl_step */
  const void *peephole;
} fl_gradient_step;

/* The gates alone, backwards, natural order. */
typedef struct {
  size_t rows, units;
  const void *gates;  /* [rows][4*units] reals: i, f, g, o; read */
  const void *c_prev; /* [rows][units] reals; read */
  const void *c;      /* [rows][units] reals; read */
  const void *dh;     /* [rows][units] reals; read */
  void *dz;           /* [rows][4*units] reals; written; may be gates */
  void *dc;           /* [rows][units] reals: the gradient of c from later steps in, of c_prev out */
} fl_gates_gradient;

/* what the columns of a meet */
typedef struct {
  const void *const *b; /* [n] pointers to [columns] reals; read */
  size_t columns;
  void *out;      /* [last - first][out_row] reals; read and written; columns past `columns` get zeros added */
  size_t out_row; /* at least columns, rounded up to FL_PANEL */
} fl_outer_part;

/* Of each part: out[j - first] [i] += sum_n a[n][j] * b[n][i], first <= j < last, in blocks of FL_SUM_BLOCK rows. */
enum { FL_SUM_BLOCK = 96 }; /* 192 is 1-2 % faster, and its rounding error above torch's */
typedef struct {
  size_t n;      /* rows */
  const void *a; /* [n][a_row] reals; read */
  size_t a_row;
  size_t first, last;    /* columns of a: rows of out */
  fl_outer_part part[2]; /* part[1].columns = 0 where there is only one */
  void *scratch;         /* [FL_SUM_BLOCK][FL_PANEL + last - first] reals */
} fl_outer;

/* What the peepholes of i, f, o get: out[0][u] = sum_n dz_i[n][u] * c_prev[n][u], out[1] with dz_f, out[2] with dz_o
 * and c; panels first <= p < last, in blocks of FL_SUM_BLOCK rows as fl_outer. */
typedef struct {
  size_t n, units;
  size_t first, last;
  const void *dz; /* [n][dz_row] reals, panels FL_PANEL apart; read */
  size_t dz_row;
  const void *const *c_prev; /* [n] pointers to [H] reals; read */
  const void *c;             /* [n][c_row] reals; read */
  size_t c_row;
  int coupled; /* out[1] = 0 */
  void *out;   /* [3][H] reals; written */
} fl_peephole_sums;

/* Shift registers of 64 bits side by side, through which memory is read for a sum of it (digest.h). */
#define FL_DIGEST_LANES 32

/* Numbers that do not wait for each other: as many as all accumulators of a tile hold, or a multiple of that. */
#define FL_CHAINS 384

/* X(name, argument list): those that read weights, which there are for weights of 16 and of 8 bits, too */
#define FL_WEIGHT_KERNEL_LIST(X)                                                                                      \
  X(product, (const fl_product *product)) /* packed matrix product, from one row (GEMV) to many (GEMM) */             \
  X(step, (const fl_step *step))          /* product and gates: one time step of one layer */

/* and all */
#define FL_KERNEL_LIST(X)                                                                                             \
  FL_WEIGHT_KERNEL_LIST(X)                                                                                            \
  X(activate, (const fl_activation *activation, const void *x, void *y, size_t n)) /* x[n] to y[n]; y may be x */     \
  X(gates_forward, (const fl_gates *gates))          /* activations and their Hadamard combination */                 \
  X(gates_train, (const fl_gates *gates, void *out)) /* gates_forward, and out[rows][4*units] = i, f, g, o */         \
  X(gates_backward, (const fl_gates_gradient *call)) /* its gradient */                                               \
  X(gradient_step, (const fl_gradient_step *step))   /* the gates of one time step, backwards */                      \
  X(outer, (const fl_outer *outer))                  /* sums of outer products */                                     \
  X(sum_rows, (const fl_outer *outer))               /* out[j - first] += sum_n a[n][j], in the same blocks */        \
  X(peephole_sums, (const fl_peephole_sums *sums))   /* gradients of peepholes */                                     \
  X(digest, (const void *data, size_t lines, uint64_t *sums)) /* [lines][FL_DIGEST_LANES] words into as many sums */  \
  X(read_all, (const void *data, size_t lines, uint64_t *sums)) /* the same words, exclusive or: as fast as it goes */ \
  X(multiply_add, (void *x, size_t n)) /* x[FL_CHAINS], n times: x = x / 2 + 1 / 4, one rounding */

typedef struct {
#define FL_DECLARE(name, arguments) void(*name) arguments;
  FL_KERNEL_LIST(FL_DECLARE)
#undef FL_DECLARE
} fl_kernels;

typedef struct {
#define FL_DECLARE(name, arguments) void(*name) arguments;
  FL_WEIGHT_KERNEL_LIST(FL_DECLARE)
#undef FL_DECLARE
} fl_weight_kernels;

#endif
