/* What the thread pool needs of the CPU and the operating system: time, the CPUs and who may run on them. Who includes it
 * defines _GNU_SOURCE first, for thread affinity. */
#ifndef FASTNN_SYSTEM_H
#define FASTNN_SYSTEM_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

static inline int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Tells the CPU that this thread polls. */
static inline void rest(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* `yield` does nothing on most cores, this takes about as long as x86's pause */
#endif
}

struct cpus {
    int64_t count;
#ifdef __linux__
    cpu_set_t set;
#endif
};

/* The CPUs that the calling thread may use. */
static inline struct cpus usable_cpus(void)
{
#ifdef __linux__
    struct cpus cpus;
    if (sched_getaffinity(0, sizeof cpus.set, &cpus.set) == 0) {
        cpus.count = CPU_COUNT(&cpus.set);
        return cpus;
    }
    CPU_ZERO(&cpus.set); /* more CPUs than the set has room for */
    cpus.count = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus;
#else
    return (struct cpus){sysconf(_SC_NPROCESSORS_ONLN)};
#endif
}

static inline int current_cpu(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

/* Allows a worker the CPUs of the calling thread (`cpus`, written) except one, if there are enough for all members of
 * its team: whether that was done.
 *
 * Linux in a virtual machine takes a sleeping CPU for one that the host has taken away, wakes a worker beside its
 * caller, and lets the two take turns there for milliseconds: after each sleep of 1 ms, 95% of the tasks ran on one
 * of two CPUs. So a worker is woken on another CPU than its caller's, and leaves it where it finds itself there: 1%
 * then. The kernel may move it again as soon as it runs. */
static inline bool keep_off(pthread_t thread, int cpu, int64_t members, struct cpus *cpus)
{
#ifdef __linux__
    *cpus = usable_cpus();
    if (cpu < 0 || cpus->count < members || !CPU_ISSET((size_t)cpu, &cpus->set)) {
        return false;
    }
    cpu_set_t others = cpus->set;
    CPU_CLR((size_t)cpu, &others);
    return pthread_setaffinity_np(thread, sizeof others, &others) == 0;
#else
    (void)thread, (void)cpu, (void)members, (void)cpus;
    return false;
#endif
}

/* Allows it all of them. */
static inline void let_go(pthread_t thread, const struct cpus *cpus)
{
#ifdef __linux__
    pthread_setaffinity_np(thread, sizeof cpus->set, &cpus->set);
#else
    (void)thread, (void)cpus;
#endif
}

#endif
