/* How many CPUs there are for this process: those that its main thread may run on, or the one that asks first, and no
 * more than a container's quota pays for.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_CPUS_H
#define FASTLSTM_CPUS_H

#include <stddef.h>

/* At least 1. Asked of the system once in a process, the first time. */
size_t fl_cpus(void);

/* Has the process a quota? Then a CPU that waits is missing elsewhere. */
int fl_held_back(void);

/* The quota of the control group of this process, in CPUs; 0 if there is none. root: "", or a folder of files laid out
 * as the system's. */
double fl_cpu_quota(const char *root);

/* For tests and measurements, from here on in this process: as if waking and waiting took no time, and every thread had
 * a CPU. No call may be running, and no workspace of before is used any more. */
void fl_use_all_threads(int all);
int fl_uses_all_threads(void);

#endif
