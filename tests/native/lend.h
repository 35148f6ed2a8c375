/* Threads of somebody else's, which a pool borrows: what each of them is given to do.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_TEST_LEND_H
#define FASTLSTM_TEST_LEND_H

#include "base/os_threads.h"

typedef struct {
  void (*work)(void *);
  void *data;
} errand;

static OS_THREAD(helper, argument) {
  const errand *const e = argument;
  e->work(e->data);
  OS_THREAD_RETURN;
}

#endif
