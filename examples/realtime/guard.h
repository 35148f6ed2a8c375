/* A guard for audio threads: what allocates, locks or calls the system between guard_enter and guard_leave is found.
 *
 * Linked into the program, it stands before the C library's functions for memory, locks and clocks, also when they are
 * called from within libraries; system calls are caught by a filter of the kernel's. Linux with glibc.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef GUARD_H
#define GUARD_H

void guard_enter(void);
void guard_leave(void);

/* From here on the calling thread may not call the system, but for the time and to sleep, outside of callbacks. What
 * does it otherwise ends the thread. 0 where the kernel has no filters: then system calls are not seen. */
int guard_system_calls(void);
_Noreturn void guard_exit(void);

/* What the first offence was, or NULL. */
const char *guard_found(void);

#endif
