/* The caller's floating-point environment: flushing subnormal numbers or rounding otherwise changes no bit, and stays.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <fenv.h>
#include "fastlstm.h"
#include "base/fpenv.h"
#include "support.h"

enum { T = 5, I = 3, H = 9, N = 64 };

/* values of the control register beside the usual one */
#if defined(__x86_64__) || defined(_M_X64) || (defined(__i386__) && defined(__SSE__))
static const uint32_t modes[] = {0x1f80 | 0x8040, 0x1f80 | 0x2000, 0x1f80 | 0x6000}; /* FTZ and DAZ; down; to zero */
#elif defined(__aarch64__) || (defined(__arm__) && defined(__ARM_FP))
static const uint32_t modes[] = {1 << 24, 1 << 22, 3 << 22}; /* FZ; up; to zero */
#elif defined(FE_DOWNWARD) && defined(FE_UPWARD)
static const uint32_t modes[] = {FE_DOWNWARD, FE_UPWARD};
#else
static const uint32_t modes[] = {FE_TONEAREST};
#endif

typedef struct {
  float y[N], output[T * H], h[H], c[H], total[N];
} results;

static float x[N], input[T * I], w[4 * H * H], tiny[N];
static fl_plan *plan;
static void *workspace;

static void compute(results *r, const char *isa) {
  const fl_sequence s = {.T = T,
                         .B = 1,
                         .input = input,
                         .input_t = I * sizeof(float),
                         .output = r->output,
                         .output_t = H * sizeof(float),
                         .h_n = r->h,
                         .c_n = r->c};
  CHECK(fl_sigmoid(isa, FL_FLOAT32, x, r->y, N) == FL_OK);
  CHECK(fl_forward(plan, &s, NULL, workspace) == FL_OK);
  memcpy(r->total, tiny, sizeof tiny);
  fl_accumulate(FL_FLOAT32, r->total, tiny, N);
}

static void numbers(float *to, size_t n, float scale) {
  for (size_t j = 0; j < n; j++) to[j] = (float)((int)(mix(j + n) >> 44) - (1 << 19)) * scale;
}

static void run(const char *isa) {
  const fl_config config = {FL_FLOAT32, I, H, 0, 1, 1, NULL, FL_WEIGHTS_REAL};
  const fl_weights weights = {.weight_ih = w, .weight_hh = w};
  void *raw;
  results usual, other;
  CHECK(fl_plan_create(&plan, &config, &weights, isa) == FL_OK);
  workspace = aligned(fl_workspace_size(plan, T, 1, 1), &raw);
  memset(&usual, 0, sizeof usual);
  compute(&usual, isa);
  for (size_t k = 0; k < sizeof modes / sizeof modes[0]; k++) {
    const fl_fpenv before = fl_fpenv_read();
    memset(&other, 0, sizeof other);
    fl_fpenv_write((fl_fpenv)modes[k]);
    compute(&other, isa);
    const fl_fpenv after = fl_fpenv_read();
    fl_fpenv_write(before);
    CHECK((after & ~(fl_fpenv)FL_FPENV_FLAGS) == (fl_fpenv)modes[k]);
    if (memcmp(&usual, &other, sizeof usual)) fprintf(stderr, "on %s, mode %zu: other bits\n", isa, k);
    CHECK(!memcmp(&usual, &other, sizeof usual));
  }
  free(raw);
  fl_plan_destroy(plan);
}

int main(void) {
  numbers(x, N, 0x1p-13f); /* -64..64 */
  x[1] = 0x1p-149f;
  x[2] = -0x1p-140f;
  numbers(input, T * I, 0x1p-147f); /* subnormal */
  numbers(w, 4 * H * H, 0x1p-19f);
  numbers(tiny, N, 0x1p-147f);
  for (size_t k = 0; fl_isa_name(k); k++) run(fl_isa_name(k));
  printf("environment: %zu modes, the same bits\n", sizeof modes / sizeof modes[0]);
  return 0;
}
