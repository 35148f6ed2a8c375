/* Memory that outlives a call: one block, kept in a slot by whoever comes back first, since fresh pages cost more than
 * many a call's arithmetic. No lock and no growth beyond the bytes that may be kept: many threads may take and give
 * back at once; who finds the slot empty allocates, who finds it full frees.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_WORKSPACE_H
#define FASTLSTM_WORKSPACE_H

#include <Python.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
  size_t bytes;
  char *data; /* [bytes], 64-byte aligned */
} workspace;

typedef struct {
  _Atomic(workspace *) kept;
} workspace_slot;

#define WORKSPACE_MOST ((size_t)PTRDIFF_MAX - 128) /* what is more overflows */
#define SCRATCH_KEPT ((size_t)64 << 20)
#define TAPE_KEPT ((size_t)256 << 20)

/* a new block, to be freed; NULL when memory is out */
static inline workspace *workspace_new(size_t bytes) {
  if (bytes > WORKSPACE_MOST) return NULL;
  workspace *const w = malloc(sizeof *w + 64 + bytes);
  if (!w) return NULL;
  w->bytes = bytes;
  w->data = (char *)(((uintptr_t)(w + 1) + 63) & ~(uintptr_t)63);
  return w;
}

/* at least `bytes`; NULL when memory is out */
static inline workspace *workspace_take(workspace_slot *slot, size_t bytes) {
  workspace *const w = atomic_exchange_explicit(&slot->kept, NULL, memory_order_acquire);
  if (w && w->bytes >= bytes) return w;
  free(w);
  return workspace_new(bytes);
}

static inline void workspace_give(workspace_slot *slot, workspace *w, size_t most) {
  if (w && w->bytes <= most) w = atomic_exchange_explicit(&slot->kept, w, memory_order_acq_rel);
  free(w);
}

/* One user at a time. Entering returns 0 if another thread is inside. A user who keeps the GIL all the way through
 * (brief) cannot be met by another, so it only looks: the locked instruction would cost 10 % of the smallest step. */
typedef struct {
  atomic_int taken;
} single_user;

static inline int single_user_enter(single_user *s, int brief) {
#ifndef Py_GIL_DISABLED
  if (brief) return !atomic_load_explicit(&s->taken, memory_order_acquire);
#endif
  return !atomic_exchange_explicit(&s->taken, 1, memory_order_acquire);
}
static inline void single_user_leave(single_user *s, int brief) {
#ifndef Py_GIL_DISABLED
  if (brief) return;
#endif
  atomic_store_explicit(&s->taken, 0, memory_order_release);
}

#endif
