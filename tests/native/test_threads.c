/* Threads by themselves: every item of every phase is done once, by however many come; the CPUs of a process, by files
 * laid out as the system's; and how many threads calls take.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdatomic.h>
#include "fastlstm.h"
#include "base/cpus.h"
#include "base/os_threads.h"
#include "base/threads.h"
#include "lend.h"
#include "support.h"

#ifndef _WIN32
#include <sys/stat.h>
#endif

/* ---- phases, tables --------------------------------------------------------------------------------------------- */

enum { ITEMS = 37, PHASES = 60, TASKS = 3, TEAM = 3, THREADS = 16, CALLS = 150 };

typedef struct {
  const fl_tables *tables;
  size_t items, grain;
  _Atomic int done[TASKS][PHASES][ITEMS];
} world;

/* all phases of a task; what the phase before left must be seen */
static void walk(world *w, size_t task, fl_member *member) {
  for (size_t phase = 0; phase < PHASES; phase++) {
    fl_items some;
    while (fl_take(member, w->items, w->grain, &some)) {
      CHECK(some.first < some.end && some.end <= w->items && some.end - some.first <= w->grain);
      for (size_t k = some.first; k < some.end; k++) {
        if (phase) CHECK(atomic_load_explicit(&w->done[task][phase - 1][k], memory_order_relaxed) == 1);
        atomic_fetch_add_explicit(&w->done[task][phase][k], 1, memory_order_relaxed);
      }
    }
  }
}

static void walk_one(void *argument, fl_member *member) {
  walk(argument, 0, member);
}

static void walk_tables(void *argument, fl_member *member) {
  world *const w = argument;
  for (fl_seat seat; fl_sit(w->tables, member, &seat); fl_rise(w->tables, member, &seat)) {
    CHECK(seat.task < TASKS && seat.person == member->slot);
    walk(w, seat.task, &seat.member);
  }
}

static void expect_once(world *w, size_t tasks) {
  for (size_t task = 0; task < tasks; task++)
    for (size_t phase = 0; phase < PHASES; phase++)
      for (size_t k = 0; k < ITEMS; k++) {
        CHECK(w->done[task][phase][k] == (k < w->items));
        w->done[task][phase][k] = 0;
      }
}

static void lend_late(void (*work)(void *), void *data, unsigned threads, unsigned flags);

static void run_pool(fl_pool *pool) {
  world *const w = calloc(1, sizeof *w);
  CHECK(w);
  void *raw;
  fl_arena arena = {0};
  fl_carve_tables(&arena, TASKS, TEAM);
  arena.at = aligned(arena.used, &raw);
  arena.used = 0;
  fl_tables tables = fl_carve_tables(&arena, TASKS, TEAM);
  w->tables = &tables;
  for (size_t call = 0; call < CALLS; call++) {
    w->items = 1 + call % ITEMS;
    w->grain = 1 + call % 4;
    CHECK(fl_pool_run(pool, 1 + call % THREADS, walk_one, w, NULL) == FL_OK);
    expect_once(w, 1);
    fl_clear_tables(&tables);
    CHECK(fl_pool_run(pool, TASKS * TEAM, walk_tables, w, NULL) == FL_OK);
    expect_once(w, TASKS);
  }
  free(raw);
  free(w);
}

/* fewer than are asked for, and some of them when the call is over, or nearly */
static void lend_late(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
  errand e = {work, data};
  os_thread one, other;
  CHECK(threads > 1 && !flags);
  CHECK(os_start(&one, helper, &e));
  work(data);
  CHECK(os_start(&other, helper, &e));
  os_join(one);
  os_join(other);
}

static void phases(void) {
  fl_pool *pool;
  for (size_t threads = 1; threads <= THREADS; threads += threads < 4 ? 1 : 6) {
    CHECK(fl_pool_create(&pool, threads) == FL_OK);
    run_pool(pool);
    fl_pool_destroy(pool);
  }
  CHECK(fl_pool_borrow(&pool, THREADS, lend_late) == FL_OK);
  run_pool(pool);
  fl_pool_destroy(pool);
  run_pool(NULL);
}

/* ---- quotas ----------------------------------------------------------------------------------------------------- */

#ifndef _WIN32
static char root[256];

/* a file below root, and the folders on the way */
static void put(const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s%s", root, name);
  for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
    *at = 0;
    mkdir(path, 0700);
    *at = '/';
  }
  FILE *const file = fopen(path, "w");
  CHECK(file && fputs(text, file) >= 0 && !fclose(file));
}

static void begin_root(const char *groups) {
  const char *const temporary = getenv("TMPDIR");
  snprintf(root, sizeof root, "%s/fastlstm-XXXXXX", temporary && strlen(temporary) < 200 ? temporary : "/tmp");
  CHECK(mkdtemp(root));
  if (groups) put("/proc/self/cgroup", groups);
}

static double end_root(void) {
  const double quota = fl_cpu_quota(root);
  char command[300];
  snprintf(command, sizeof command, "rm -r '%s'", root);
  CHECK(!system(command));
  return quota;
}

static void quotas(void) {
  begin_root(NULL); /* nothing to read */
  CHECK(end_root() == 0);
  begin_root("0::/\n"); /* version 2: no limit, a limit, not a number */
  put("/sys/fs/cgroup/cpu.max", "max 100000\n");
  CHECK(end_root() == 0);
  begin_root("0::/\n");
  put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
  CHECK(end_root() == 1.5);
  begin_root("0::/\n");
  put("/sys/fs/cgroup/cpu.max", "many 100000\n");
  CHECK(end_root() == 0);
  begin_root("0::/a/b\n"); /* the smallest of a group and those above it */
  put("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
  put("/sys/fs/cgroup/a/cpu.max", "200000 100000\n");
  put("/sys/fs/cgroup/cpu.max", "max 100000\n");
  CHECK(end_root() == 2);
  begin_root("0::/not/to/be/seen\n"); /* a container: the path is the host's */
  put("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  CHECK(end_root() == 0.5);
  begin_root("5:memory:/x\n4:cpu,cpuacct:/docker/x\n3:cpuset:/y\n"); /* version 1 */
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  CHECK(end_root() == 3);
  begin_root("4:cpuacct,cpu:/\n");
  put("/sys/fs/cgroup/cpuacct,cpu/cpu.cfs_quota_us", "-1\n");
  put("/sys/fs/cgroup/cpuacct,cpu/cpu.cfs_period_us", "100000\n");
  CHECK(end_root() == 0);
  begin_root("3:cpuset:/\n2:cpuacct:/\n"); /* other controllers */
  put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  CHECK(end_root() == 0);
  begin_root("1:cpu:/a\n0::/b\n"); /* both */
  put("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "250000\n");
  put("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  put("/sys/fs/cgroup/unified/b/cpu.max", "1200000 100000\n");
  CHECK(end_root() == 2.5);
}
#else
static void quotas(void) {
}
#endif

/* ---- how many --------------------------------------------------------------------------------------------------- */

static size_t used(size_t H, size_t layers, size_t directions, size_t T, size_t B, size_t threads) {
  const fl_config config = {FL_FLOAT32, H, H, 0, layers, directions, NULL, FL_WEIGHTS_REAL};
  fl_weights weights[2];
  float *const zeros = calloc(8 * H * H, sizeof *zeros);
  CHECK(zeros && layers * directions <= 2);
  for (size_t k = 0; k < 2; k++) weights[k] = (fl_weights){.weight_ih = zeros, .weight_hh = zeros};
  fl_plan *plan;
  CHECK(fl_plan_create(&plan, &config, weights, NULL) == FL_OK);
  const size_t n = fl_threads_used(plan, T, B, threads);
  if (directions == 1) {
    CHECK(fl_sessions_threads_used(plan, B, threads) <= threads);
    CHECK(fl_sessions_threads_used(plan, 0, threads) == 1); /* nothing to do */
  }
  fl_plan_destroy(plan);
  free(zeros);
  return n;
}

static void how_many(void) {
  const size_t cpus = fl_cpus();
  CHECK(cpus >= 1 && fl_threads_used(NULL, 1, 1, 1) == 0 && fl_backward_threads_used(NULL, 1) == 0);
  for (size_t threads = 1; threads <= 32; threads *= 2) {
    CHECK(used(8, 1, 1, 100, 1, threads) == 1); /* too little */
    CHECK(used(512, 1, 1, 0, 1, threads) == 1 && used(512, 1, 1, 100, 0, threads) == 1);
    const size_t n = used(512, 1, 1, 100, 4, threads);
    CHECK(n <= threads && n <= cpus && (n > 1 || threads == 1 || cpus == 1));
  }
  fl_use_all_threads(1);
  for (size_t threads = 2; threads <= 32; threads *= 2) {
    CHECK(used(1, 1, 1, 5, 1, threads) == 1); /* one row of one unit */
    CHECK(used(64, 1, 1, 5, 64, threads) > threads / 2);
    CHECK(used(64, 1, 2, 5, 1, threads) > threads / 2 || threads > 16);
  }
  fl_use_all_threads(0);
}

int main(void) {
  phases();
  quotas();
  how_many();
  printf("fastlstm threads: each item once; %zu CPUs\n", fl_cpus());
  return 0;
}
