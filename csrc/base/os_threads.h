/* Threads, a lock and a condition from the system: POSIX, or Windows, under POSIX-like names.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_OS_THREADS_H
#define FASTLSTM_OS_THREADS_H

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define os_pause() _mm_pause()
#elif defined(__aarch64__)
#define os_pause() __asm__ volatile("yield")
#else
#define os_pause() ((void)0)
#endif

#ifdef _WIN32
#include <process.h>
#include <windows.h>

typedef SRWLOCK os_lock;
typedef CONDITION_VARIABLE os_condition;
typedef HANDLE os_thread;
typedef DWORD os_id;
#define OS_THREAD(name, argument) unsigned __stdcall name(void *argument)
#define OS_THREAD_RETURN return 0

static inline int os_lock_init(os_lock *l) {
  InitializeSRWLock(l);
  return 1;
}
static inline int os_condition_init(os_condition *c) {
  InitializeConditionVariable(c);
  return 1;
}
#define os_lock_destroy(l) ((void)(l))
#define os_condition_destroy(c) ((void)(c))
#define os_acquire(l) AcquireSRWLockExclusive(l)
#define os_release(l) ReleaseSRWLockExclusive(l)
#define os_wait(c, l) SleepConditionVariableSRW(c, l, INFINITE, 0)
#define os_wake_one(c) WakeConditionVariable(c)
#define os_wake_all(c) WakeAllConditionVariable(c)
#define os_yield() SwitchToThread()
#define os_process() ((long)GetCurrentProcessId())
#define os_self() GetCurrentThreadId()
#define os_same(a, b) ((a) == (b))
static inline int os_start(os_thread *t, unsigned(__stdcall *run)(void *), void *argument) {
  *t = (HANDLE)_beginthreadex(NULL, 0, run, argument, 0, NULL);
  return *t != 0;
}
static inline void os_join(os_thread t) {
  WaitForSingleObject(t, INFINITE);
  CloseHandle(t);
}

#else
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

typedef pthread_mutex_t os_lock;
typedef pthread_cond_t os_condition;
typedef pthread_t os_thread, os_id;
#define OS_THREAD(name, argument) void *name(void *argument)
#define OS_THREAD_RETURN return NULL

static inline int os_lock_init(os_lock *l) {
  return pthread_mutex_init(l, NULL) == 0;
}
static inline int os_condition_init(os_condition *c) {
  return pthread_cond_init(c, NULL) == 0;
}
#define os_lock_destroy(l) pthread_mutex_destroy(l)
#define os_condition_destroy(c) pthread_cond_destroy(c)
#define os_acquire(l) pthread_mutex_lock(l)
#define os_release(l) pthread_mutex_unlock(l)
#define os_wait(c, l) pthread_cond_wait(c, l)
#define os_wake_one(c) pthread_cond_signal(c)
#define os_wake_all(c) pthread_cond_broadcast(c)
#define os_yield() sched_yield()
#define os_process() ((long)getpid())
#define os_self() pthread_self()
#define os_same(a, b) (pthread_equal((a), (b)) != 0)
static inline int os_start(os_thread *t, void *(*run)(void *), void *argument) {
  return pthread_create(t, NULL, run, argument) == 0;
}
static inline void os_join(os_thread t) {
  pthread_join(t, NULL);
}
#endif

#endif
