/* CPUs by affinity and by control groups, versions 1 and 2. What cannot be read is no limit.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifdef __linux__
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "cpus.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <unistd.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

/* ---- affinity --------------------------------------------------------------------------------------------------- */

#ifdef _WIN32
static size_t may_run_on(void) {
  DWORD_PTR mine, all;
  size_t cpus = 0;
  if (!GetProcessAffinityMask(GetCurrentProcess(), &mine, &all) || !mine) mine = 1;
  for (; mine; mine &= mine - 1) cpus++;
  return cpus;
}
#else
/* The system knows it of threads alone. This one may be bound to a CPU, and the others, or its workers, not: so is the
 * main one asked, too. */
static size_t may_run_on(void) {
#ifdef __linux__
  cpu_set_t mask[16]; /* 16384 CPUs */
  size_t most = 0;
  const pid_t threads[] = {0, getpid()};
  for (size_t k = 0; k < 2; k++)
    if (!sched_getaffinity(threads[k], sizeof mask, mask)) {
      const size_t cpus = (size_t)CPU_COUNT_S(sizeof mask, mask);
      if (cpus > most) most = cpus;
    }
  if (most) return most;
#endif
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (size_t)online : 1;
}
#endif

/* ---- control groups --------------------------------------------------------------------------------------------- */

enum { PATH = 4096 };

/* a small file's first bytes, as a string; 0 where there is none */
static int read_text(const char *path, char *text, size_t size) {
  FILE *const file = fopen(path, "r");
  if (!file) return 0;
  const size_t n = fread(text, 1, size - 1, file);
  text[n] = 0;
  fclose(file);
  return n > 0;
}

/* quota / period of a folder, 0 for no limit: cpu.max is "quota period" or "max period" */
static double quota_of_v2(const char *folder) {
  char path[PATH], text[128];
  long long quota, period;
  if (snprintf(path, sizeof path, "%s/cpu.max", folder) >= PATH || !read_text(path, text, sizeof text)) return 0;
  return sscanf(text, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0 ? (double)quota / (double)period
                                                                                    : 0;
}

static long long number_in(const char *folder, const char *name) {
  char path[PATH], text[128];
  long long number;
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH || !read_text(path, text, sizeof text)) return 0;
  return sscanf(text, "%lld", &number) == 1 ? number : 0;
}

static double quota_of_v1(const char *folder) {
  const long long quota = number_in(folder, "cpu.cfs_quota_us"), period = number_in(folder, "cpu.cfs_period_us");
  return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

static double smaller(double quota, double other) {
  return !quota || (other && other < quota) ? other : quota;
}

/* The smallest of a group and those above it. In a container the path may be the host's, of which only the top is to
 * be seen. */
static double quota_along(const char *root, const char *mount, const char *group, double (*quota_of)(const char *)) {
  char folder[PATH];
  double quota = 0;
  const int n = snprintf(folder, sizeof folder, "%s%s", root, mount);
  if (n < 0 || n >= PATH || snprintf(folder + n, sizeof folder - (size_t)n, "%s", group) >= PATH - n) return 0;
  for (;;) {
    quota = smaller(quota, quota_of(folder));
    char *const slash = strrchr(folder + n, '/');
    if (!slash) return quota;
    *slash = 0;
  }
}

/* Is "cpu" among the controllers, "cpu,cpuacct"? */
static int has_cpu(const char *controllers) {
  for (const char *at = controllers; (at = strstr(at, "cpu")); at += 3)
    if ((at == controllers || at[-1] == ',') && (at[3] == ',' || !at[3])) return 1;
  return 0;
}

double fl_cpu_quota(const char *root) {
  static const char *const v1[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpuacct,cpu"};
  static const char *const v2[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
  char path[PATH], line[PATH];
  double quota = 0;
  if (snprintf(path, sizeof path, "%s/proc/self/cgroup", root) >= PATH) return 0;
  FILE *const groups = fopen(path, "r");
  if (!groups) return 0;
  while (fgets(line, sizeof line, groups)) { /* number:controllers:path, and 0::path of version 2 */
    char *const controllers = strchr(line, ':'), *const group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) continue;
    *group = 0;
    group[1 + strcspn(group + 1, "\n")] = 0;
    if (!strcmp(line, "0:")) {
      for (size_t k = 0; k < sizeof v2 / sizeof v2[0]; k++)
        quota = smaller(quota, quota_along(root, v2[k], group + 1, quota_of_v2));
    } else if (has_cpu(controllers + 1)) {
      for (size_t k = 0; k < sizeof v1 / sizeof v1[0]; k++)
        quota = smaller(quota, quota_along(root, v1[k], group + 1, quota_of_v1));
    }
  }
  fclose(groups);
  return quota;
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

/* cpus * 2, and 1 with a quota; 0: not asked yet */
static _Atomic size_t known;

static size_t ask_system(void) {
  const size_t cpus = may_run_on();
  const double quota = fl_cpu_quota("");
  if (!quota || quota >= (double)cpus) return 2 * cpus;
  const size_t paid = (size_t)quota;
  return 2 * ((double)paid < quota ? paid + 1 : paid) + 1;
}

static size_t look_up(void) {
  size_t found = atomic_load_explicit(&known, memory_order_relaxed);
  if (!found) { /* two that come at once find the same */
    found = ask_system();
    atomic_store_explicit(&known, found, memory_order_relaxed);
  }
  return found;
}

size_t fl_cpus(void) {
  return look_up() / 2;
}

int fl_held_back(void) {
  return look_up() & 1;
}

/* ---- for tests -------------------------------------------------------------------------------------------------- */

static _Atomic int all_threads;

void fl_use_all_threads(int all) {
  atomic_store(&all_threads, all);
}

int fl_uses_all_threads(void) {
  return atomic_load_explicit(&all_threads, memory_order_relaxed);
}
