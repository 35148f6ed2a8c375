/* csrc/base/memory.c: blocks of every size about its limits, on a line, zeroed, whole, and none over another.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/memory.h"
#include "support.h"

static int is_filled(const unsigned char *at, size_t bytes, unsigned char with) {
  for (size_t k = 0; k < bytes; k++)
    if (at[k] != with) return 0;
  return 1;
}

int main(void) {
  static const size_t MIB = (size_t)1 << 20;
  const size_t near[] = {0, MIB / 16, MIB * 3 / 2, 2 * MIB, 2 * MIB + MIB * 3 / 2, 4 * MIB};
  enum { NEAR = sizeof near / sizeof *near, AROUND = 2 * FL_LINE + 1 };
  for (int round = 0; round < 2; round++) /* what one has left behind, the next may get */
    for (size_t by = 0; by <= AROUND; by += by % FL_LINE == 1 ? FL_LINE - 2 : 1) {
      unsigned char *made[2][NEAR];
      for (int above = 0; above < 2; above++)
        for (size_t k = 0; k < NEAR; k++) {
          const size_t bytes = above ? near[k] + by : near[k] - (by < near[k] ? by : near[k]);
          unsigned char *const at = made[above][k] = fl_allocate(bytes);
          CHECK(at && (uintptr_t)at % FL_LINE == 0);
          CHECK(is_filled(at, bytes, 0));
          memset(at, (int)(1 + above * NEAR + k), bytes);
        }
      for (int above = 0; above < 2; above++)
        for (size_t k = 0; k < NEAR; k++) {
          const size_t bytes = above ? near[k] + by : near[k] - (by < near[k] ? by : near[k]);
          CHECK(is_filled(made[above][k], bytes, (unsigned char)(1 + above * NEAR + k)));
          fl_free(made[above][k]);
        }
    }
  fl_free(NULL);
  CHECK(!fl_allocate(SIZE_MAX) && !fl_allocate(PTRDIFF_MAX));
  printf("ok\n");
  return 0;
}
