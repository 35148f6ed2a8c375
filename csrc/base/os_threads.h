/* Threads, a lock and a condition from the system: POSIX, or Windows, under POSIX-like names.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_OS_THREADS_H
#define FASTLSTM_OS_THREADS_H

#include <stdint.h>

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

static inline int os_lock_init(os_lock *lock) {
  InitializeSRWLock(lock);
  return 1;
}
static inline int os_condition_init(os_condition *condition) {
  InitializeConditionVariable(condition);
  return 1;
}
#define os_lock_destroy(lock) ((void)(lock))
#define os_condition_destroy(condition) ((void)(condition))
#define os_acquire(lock) AcquireSRWLockExclusive(lock)
#define os_release(lock) ReleaseSRWLockExclusive(lock)
#define os_wait(condition, lock) SleepConditionVariableSRW(condition, lock, INFINITE, 0)
#define os_wake_one(condition) WakeConditionVariable(condition)
#define os_wake_all(condition) WakeAllConditionVariable(condition)
#define os_yield() SwitchToThread()
#define os_process() ((long)GetCurrentProcessId())
#define os_self() GetCurrentThreadId()
#define os_same(one, other) ((one) == (other))
static inline int os_start(os_thread *thread, unsigned(__stdcall *run)(void *), void *argument) {
  *thread = (HANDLE)_beginthreadex(NULL, 0, run, argument, 0, NULL);
  return *thread != 0;
}
static inline void os_join(os_thread thread) {
  WaitForSingleObject(thread, INFINITE);
  CloseHandle(thread);
}

static inline uint64_t os_nanoseconds(void) {
  LARGE_INTEGER ticks, a_second;
  QueryPerformanceCounter(&ticks);
  QueryPerformanceFrequency(&a_second);
  return (uint64_t)((double)ticks.QuadPart * 1e9 / (double)a_second.QuadPart);
}

#else
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

typedef pthread_mutex_t os_lock;
typedef pthread_cond_t os_condition;
typedef pthread_t os_thread, os_id;
#define OS_THREAD(name, argument) void *name(void *argument)
#define OS_THREAD_RETURN return NULL

static inline int os_lock_init(os_lock *lock) {
  return pthread_mutex_init(lock, NULL) == 0;
}
static inline int os_condition_init(os_condition *condition) {
  return pthread_cond_init(condition, NULL) == 0;
}
#define os_lock_destroy(lock) pthread_mutex_destroy(lock)
#define os_condition_destroy(condition) pthread_cond_destroy(condition)
#define os_acquire(lock) pthread_mutex_lock(lock)
#define os_release(lock) pthread_mutex_unlock(lock)
#define os_wait(condition, lock) pthread_cond_wait(condition, lock)
#define os_wake_one(condition) pthread_cond_signal(condition)
#define os_wake_all(condition) pthread_cond_broadcast(condition)
#define os_yield() sched_yield()
#define os_process() ((long)getpid())
#define os_self() pthread_self()
#define os_same(one, other) (pthread_equal((one), (other)) != 0)
static inline int os_start(os_thread *thread, void *(*run)(void *), void *argument) {
  return pthread_create(thread, NULL, run, argument) == 0;
}
static inline void os_join(os_thread thread) {
  pthread_join(thread, NULL);
}
static inline uint64_t os_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif

#endif
