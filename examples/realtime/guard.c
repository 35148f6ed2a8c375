/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "guard.h"
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static _Thread_local int inside;
static _Atomic(const char *) found;

void guard_enter(void) {
  inside = 1;
}

void guard_leave(void) {
  inside = 0;
}

const char *guard_found(void) {
  return atomic_load(&found);
}

static void offence(const char *name) {
  const char *none = NULL;
  atomic_compare_exchange_strong(&found, &none, name);
}

static void forbidden(const char *name) {
  if (inside) offence(name);
}

/* ---- memory: glibc's own names, which need no looking up ------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *old);

void *malloc(size_t size) {
  forbidden("malloc");
  return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
  forbidden("calloc");
  return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
  forbidden("realloc");
  return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
  forbidden("memalign");
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  forbidden("aligned_alloc");
  return __libc_memalign(alignment, size);
}

void *valloc(size_t size) {
  forbidden("valloc");
  return __libc_memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

int posix_memalign(void **made, size_t alignment, size_t size) {
  forbidden("posix_memalign");
  *made = __libc_memalign(alignment, size);
  return *made ? 0 : ENOMEM;
}

void free(void *old) {
  forbidden("free");
  __libc_free(old);
}

/* ---- locks and clocks: said, then passed on --------------------------------------------------------------------- */

/* Not all of them call the system: a lock that is free is taken, and most clocks are read, without. The filter below
 * lets those that sleep do so. */
#define PASSED_ON_AS(type, name, parameters, arguments)   \
  type name parameters {                                  \
    static type(*next) parameters;                        \
    forbidden(#name);                                     \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name); \
    return next arguments;                                \
  }
#define PASSED_ON(name, parameters, arguments) PASSED_ON_AS(int, name, parameters, arguments)

PASSED_ON(pthread_mutex_lock, (pthread_mutex_t * lock), (lock))
PASSED_ON(pthread_mutex_trylock, (pthread_mutex_t * lock), (lock))
PASSED_ON(pthread_mutex_unlock, (pthread_mutex_t * lock), (lock))
PASSED_ON(pthread_mutex_timedlock, (pthread_mutex_t * lock, const struct timespec *time), (lock, time))
PASSED_ON(pthread_rwlock_tryrdlock, (pthread_rwlock_t * lock), (lock))
PASSED_ON(pthread_rwlock_trywrlock, (pthread_rwlock_t * lock), (lock))
PASSED_ON(pthread_rwlock_unlock, (pthread_rwlock_t * lock), (lock))
PASSED_ON(pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock))
PASSED_ON(pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock))
PASSED_ON(pthread_spin_lock, (pthread_spinlock_t * lock), (lock))
PASSED_ON(pthread_spin_trylock, (pthread_spinlock_t * lock), (lock))
PASSED_ON(pthread_spin_unlock, (pthread_spinlock_t * lock), (lock))
PASSED_ON(pthread_barrier_wait, (pthread_barrier_t * barrier), (barrier))
PASSED_ON(mtx_lock, (mtx_t * lock), (lock)) /* of C11: glibc's go past the functions above */
PASSED_ON(mtx_timedlock, (mtx_t * lock, const struct timespec *time), (lock, time))
PASSED_ON(mtx_trylock, (mtx_t * lock), (lock))
PASSED_ON(mtx_unlock, (mtx_t * lock), (lock))
PASSED_ON(cnd_signal, (cnd_t * condition), (condition))
PASSED_ON(cnd_broadcast, (cnd_t * condition), (condition))
PASSED_ON(cnd_wait, (cnd_t * condition, mtx_t *lock), (condition, lock))
PASSED_ON(cnd_timedwait, (cnd_t * condition, mtx_t *lock, const struct timespec *time), (condition, lock, time))
PASSED_ON(pthread_cond_timedwait, (pthread_cond_t * condition, pthread_mutex_t *lock, const struct timespec *time),
          (condition, lock, time))
PASSED_ON(pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t *lock), (condition, lock))
PASSED_ON(pthread_cond_signal, (pthread_cond_t * condition), (condition))
PASSED_ON(pthread_cond_broadcast, (pthread_cond_t * condition), (condition))
PASSED_ON(sem_wait, (sem_t * semaphore), (semaphore))
PASSED_ON(sem_trywait, (sem_t * semaphore), (semaphore))
PASSED_ON(sem_timedwait, (sem_t * semaphore, const struct timespec *time), (semaphore, time))
PASSED_ON(sem_post, (sem_t * semaphore), (semaphore))
PASSED_ON(clock_gettime, (clockid_t clock, struct timespec *now), (clock, now))
PASSED_ON(gettimeofday, (struct timeval *restrict now, void *restrict zone), (now, zone))
PASSED_ON(timespec_get, (struct timespec * now, int base), (now, base))
PASSED_ON_AS(time_t, time, (time_t *now), (now))
PASSED_ON_AS(clock_t, clock, (void), ())
PASSED_ON(nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
PASSED_ON(clock_nanosleep, (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
          (clock, flags, time, left))
PASSED_ON(usleep, (useconds_t us), (us))
PASSED_ON_AS(unsigned, sleep, (unsigned seconds), (seconds))
PASSED_ON(thrd_sleep, (const struct timespec *time, struct timespec *left), (time, left))

/* ---- system calls ----------------------------------------------------------------------------------------------- */

_Noreturn void guard_exit(void) {
  for (;;) syscall(SYS_exit, 0); /* of this thread; pthread_exit would call what the filter forbids */
}

/* Nothing may be called here that allocates: "system call 39" by hand. */
static void caught(int number, siginfo_t *info, void *context) {
  static char text[32] = "system call ";
  size_t end = sizeof "system call " - 1;
  int unit = 1;
  (void)number, (void)context;
  while (info->si_syscall / unit >= 10) unit *= 10;
  for (; unit; unit /= 10) text[end++] = (char)('0' + info->si_syscall / unit % 10);
  offence(text);
  guard_exit();
}

#define ALLOW(call) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

int guard_system_calls(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      ALLOW(SYS_exit),
      ALLOW(SYS_clock_gettime), /* on machines where it is one: callbacks are caught above, as by the next */
      ALLOW(SYS_clock_nanosleep),
#ifdef SYS_nanosleep
      ALLOW(SYS_nanosleep),
#endif
#ifdef SYS_clock_gettime64 /* 32-bit machines */
      ALLOW(SYS_clock_gettime64),
      ALLOW(SYS_clock_nanosleep_time64),
#endif
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  const struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER};
  if (sigaction(SIGSYS, &action, NULL) != 0) return 0;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 0;
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
