/* The thread pool of pool.h.
 *
 * Caller and worker exchange two numbers. The caller writes a task and then a new `ticket`; the worker, when it is
 * through, writes the same number to `done`. Who waits for a number polls it for a while and then sleeps on a
 * condition, after setting a flag. Who writes a number looks at the other's flag afterwards, and wakes it if the flag
 * is set: with a full fence between write and look on both sides, one of them sees the other, so no wake-up is lost,
 * and as long as both are awake nothing but two cache lines passes between them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* thread affinity */
#endif
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "floating.h"
#include "pool.h"
#include "system.h"

#if defined(__SANITIZE_THREAD__) && !defined(__clang__) && __GNUC__ >= 11
#pragma GCC diagnostic ignored "-Wtsan" /* fences order flags only; the numbers, which TSan follows, order data */
#endif

enum {
    STACK = 1 << 20, /* bytes, at least: a product of bfloat16 takes 300 KB */
    LINE = 128, /* x86 fetches lines of 64 bytes in pairs, some ARM cores have lines of 128 */
    POLLS = 16,              /* between two looks at the clock, about 0.3 us */
    PATIENCE = 50000,        /* nanoseconds; a sleeper and its waking cost about as much (30 to 40 us measured) */
    BETWEEN_MOVES = 1000000, /* nanoseconds */
};

struct worker {
    /* Written by the caller that has the worker. */
    _Alignas(LINE) _Atomic uint32_t ticket;
    atomic_int caller_cpu; /* where it gave the ticket, -1: unknown */
    atomic_bool caller_sleeps;
    pool_task task; /* NULL: end */
    void *context;
    int64_t parts;
    int32_t member, members;
    int64_t patience; /* how long to poll before sleeping, in nanoseconds */
    uint64_t floating_mode;
    /* Written by the worker. */
    _Alignas(LINE) _Atomic uint32_t done;
    atomic_int worker_cpu; /* where it did its last parts, -1: unknown */
    atomic_bool worker_sleeps;
    /* For sleeping, and for the pool. */
    _Alignas(LINE) pthread_mutex_t mutex;
    pthread_cond_t for_ticket, for_done;
    pthread_t thread;
    bool reserved, kept_off;
    struct cpus cpus; /* where it may run */
    int64_t moved;    /* when it last left its caller's CPU */
};

static struct {
    pthread_mutex_t mutex; /* for all that is not atomic, and `reserved` of the workers */
    pthread_cond_t free;   /* no worker is reserved */
    int64_t reserved;      /* workers that teams have */
    int64_t stopping;      /* threads in fastnn_pool_stop */
    _Atomic uint64_t process;
    _Atomic int64_t workers, busy;
    struct worker worker[POOL_WORKERS];
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .free = PTHREAD_COND_INITIALIZER};

/* The calling worker leaves this CPU, on which its caller is too. */
static void move_on(struct worker *w, int cpu, int32_t members)
{
    const int64_t now = nanoseconds();
    if (now > w->moved + BETWEEN_MOVES) {
        w->moved = now;
        if (keep_off(w->thread, cpu, members, &w->cpus)) {
            let_go(w->thread, &w->cpus);
        }
    }
}

static bool has_come(_Atomic uint32_t *number, uint32_t value)
{
    return atomic_load_explicit(number, memory_order_acquire) == value;
}

/* Polls a few times: whether the number has come. */
static bool comes_at_once(_Atomic uint32_t *number, uint32_t value)
{
    for (int poll = 0; poll < POLLS; poll++) {
        if (has_come(number, value)) {
            return true;
        }
        rest();
    }
    return false;
}

/* Polls for so many nanoseconds, but not on the CPU where the thread that is waited for was last: it may need this
 * one. The CPU is not yielded instead: beside processes that compute all the time each sched_yield costs 4 ms (Linux
 * 6.18). */
static bool comes_soon(_Atomic uint32_t *number, uint32_t value, int64_t patience, const atomic_int *other_cpu)
{
    if (comes_at_once(number, value)) {
        return true;
    }
    for (const int64_t end = nanoseconds() + patience; nanoseconds() < end;) {
        const int cpu = current_cpu();
        if (cpu >= 0 && cpu == atomic_load_explicit(other_cpu, memory_order_relaxed)) {
            return false;
        }
        if (comes_at_once(number, value)) {
            return true;
        }
    }
    return false;
}

/* What a sleeper sets, the mutex held, before it looks a last time; the mutex is free again when it waits. */
static void start_sleep(atomic_bool *sleeps)
{
    atomic_store_explicit(sleeps, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

static void await_ticket(struct worker *w, uint32_t ticket, int64_t patience)
{
    if (comes_soon(&w->ticket, ticket, patience, &w->caller_cpu)) {
        return;
    }
    pthread_mutex_lock(&w->mutex);
    start_sleep(&w->worker_sleeps);
    while (!has_come(&w->ticket, ticket)) {
        pthread_cond_wait(&w->for_ticket, &w->mutex);
    }
    atomic_store_explicit(&w->worker_sleeps, false, memory_order_relaxed);
    if (w->kept_off) {
        w->kept_off = false;
        let_go(w->thread, &w->cpus);
    }
    pthread_mutex_unlock(&w->mutex);
}

static void await_done(struct worker *w)
{
    const uint32_t ticket = atomic_load_explicit(&w->ticket, memory_order_relaxed);
    if (comes_soon(&w->done, ticket, w->patience, &w->worker_cpu)) {
        return;
    }
    pthread_mutex_lock(&w->mutex);
    start_sleep(&w->caller_sleeps);
    while (!has_come(&w->done, ticket)) {
        pthread_cond_wait(&w->for_done, &w->mutex);
    }
    atomic_store_explicit(&w->caller_sleeps, false, memory_order_relaxed);
    pthread_mutex_unlock(&w->mutex);
}

/* After a new ticket and a full fence. */
static void wake_worker(struct worker *w)
{
    if (atomic_load_explicit(&w->worker_sleeps, memory_order_relaxed)) {
        pthread_mutex_lock(&w->mutex);
        if (atomic_load_explicit(&w->worker_sleeps, memory_order_relaxed)) {
            const int cpu = atomic_load_explicit(&w->caller_cpu, memory_order_relaxed);
            w->kept_off = keep_off(w->thread, cpu, w->members, &w->cpus);
            if (w->kept_off) {
                atomic_store_explicit(&w->worker_cpu, -1, memory_order_relaxed);
            }
        }
        pthread_mutex_unlock(&w->mutex);
        pthread_cond_signal(&w->for_ticket);
    }
}

/* After `done` and a full fence. */
static void wake_caller(struct worker *w)
{
    if (atomic_load_explicit(&w->caller_sleeps, memory_order_relaxed)) {
        pthread_mutex_lock(&w->mutex);
        pthread_mutex_unlock(&w->mutex);
        pthread_cond_signal(&w->for_done);
    }
}

static void do_parts(pool_task task, void *context, int64_t first, int64_t parts, int64_t members)
{
    for (int64_t part = first; part < parts; part += members) {
        task(context, part);
    }
}

static void *work(void *argument)
{
    struct worker *w = argument;
    uint64_t mode = floating_mode();
    int64_t patience = PATIENCE;
    for (uint32_t ticket = 1;; ticket++) {
        await_ticket(w, ticket, patience);
        if (w->task == NULL) {
            return NULL;
        }
        if (w->floating_mode != mode) {
            mode = w->floating_mode;
            set_floating_mode(mode);
        }
        do_parts(w->task, w->context, w->member, w->parts, w->members);
        patience = w->patience;
        const int cpu = current_cpu();
        const bool together = cpu >= 0 && cpu == atomic_load_explicit(&w->caller_cpu, memory_order_relaxed);
        atomic_store_explicit(&w->worker_cpu, cpu, memory_order_relaxed);
        const int32_t members = w->members;
        atomic_store_explicit(&w->done, ticket, memory_order_release);
        atomic_thread_fence(memory_order_seq_cst);
        wake_caller(w);
        if (together) {
            move_on(w, cpu, members);
        }
    }
}

/* Writes a worker's next ticket; to be followed by a full fence and wake_worker. */
static void give(struct worker *w, pool_task task, void *context, int64_t parts)
{
    w->task = task;
    w->context = context;
    w->parts = parts;
    atomic_store_explicit(&w->caller_cpu, current_cpu(), memory_order_relaxed);
    const uint32_t ticket = atomic_load_explicit(&w->ticket, memory_order_relaxed);
    atomic_store_explicit(&w->ticket, ticket + 1, memory_order_release);
}

/* Makes one more worker, with the pool's mutex held: whether the system allows it. Signals other than those of its own
 * mistakes are left to the threads of the program. */
static bool create_worker(void)
{
    const int64_t index = atomic_load(&pool.workers);
    if (index == POOL_WORKERS) {
        return false;
    }
    struct worker *w = &pool.worker[index];
    atomic_store(&w->ticket, 0);
    atomic_store(&w->done, 0);
    atomic_store(&w->worker_sleeps, false);
    atomic_store(&w->caller_sleeps, false);
    w->reserved = w->kept_off = false;
    w->moved = 0;
    atomic_store(&w->caller_cpu, -1);
    atomic_store(&w->worker_cpu, -1);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->for_ticket, NULL);
    pthread_cond_init(&w->for_done, NULL);
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        sigdelset(&blocked, own[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    pthread_attr_t attributes;
    size_t stack;
    pthread_attr_init(&attributes);
    if (pthread_attr_getstacksize(&attributes, &stack) == 0 && stack < STACK) {
        pthread_attr_setstacksize(&attributes, STACK); /* musl's usual 128 KiB are too few */
    }
    const bool created = pthread_create(&w->thread, &attributes, work, w) == 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (created) {
        atomic_store(&pool.workers, index + 1);
    }
    return created;
}

/* Ends and joins all workers, with the pool's mutex held and no worker reserved. */
static void end_workers(void)
{
    const int64_t workers = atomic_load(&pool.workers);
    for (struct worker *w = pool.worker; w < pool.worker + workers; w++) {
        give(w, NULL, NULL, 0);
        atomic_thread_fence(memory_order_seq_cst);
        wake_worker(w);
    }
    for (struct worker *w = pool.worker; w < pool.worker + workers; w++) {
        pthread_join(w->thread, NULL);
        pthread_mutex_destroy(&w->mutex);
        pthread_cond_destroy(&w->for_ticket);
        pthread_cond_destroy(&w->for_done);
    }
    atomic_store(&pool.workers, 0);
}

void pool_enter(struct pool_team *team, int64_t threads)
{
    team->members = 1;
    team->process = atomic_load_explicit(&pool.process, memory_order_relaxed);
    const int64_t before = atomic_fetch_add(&pool.busy, 1);
    if (threads <= 1) {
        return;
    }
    const int64_t cpus = usable_cpus().count;
    if (before > 0 && before + 1 >= cpus) {
        return;
    }
    pthread_mutex_lock(&pool.mutex);
    const int64_t busy = atomic_load(&pool.busy);
    int64_t wanted = pool.stopping > 0 ? 1 : threads;
    if (busy > 1 && wanted > cpus - busy + 1) {
        wanted = cpus - busy + 1;
    }
    for (int64_t index = 0; index < POOL_WORKERS && team->members < wanted; index++) {
        if (index == atomic_load(&pool.workers) && !create_worker()) {
            break;
        }
        if (!pool.worker[index].reserved) {
            pool.worker[index].reserved = true;
            team->workers[team->members++ - 1] = (uint8_t)index;
        }
    }
    const uint64_t mode = floating_mode();
    for (int64_t member = 1; member < team->members; member++) {
        struct worker *w = &pool.worker[team->workers[member - 1]];
        w->member = (int32_t)member;
        w->members = (int32_t)team->members;
        w->patience = team->members > cpus ? 0 : PATIENCE; /* who polls keeps another member from its CPU */
        w->floating_mode = mode;
    }
    pool.reserved += team->members - 1;
    atomic_fetch_add(&pool.busy, team->members - 1);
    pthread_mutex_unlock(&pool.mutex);
}

void pool_run(struct pool_team *team, pool_task task, void *context, int64_t parts)
{
    const int64_t members = team->members < parts ? team->members : parts; /* that have a part */
    if (members <= 1 || team->process != atomic_load_explicit(&pool.process, memory_order_relaxed)) {
        do_parts(task, context, 0, parts, 1);
        return;
    }
    for (int64_t member = 1; member < members; member++) {
        give(&pool.worker[team->workers[member - 1]], task, context, parts);
    }
    atomic_thread_fence(memory_order_seq_cst);
    for (int64_t member = 1; member < members; member++) {
        wake_worker(&pool.worker[team->workers[member - 1]]);
    }
    do_parts(task, context, 0, parts, team->members);
    for (int64_t member = 1; member < members; member++) {
        await_done(&pool.worker[team->workers[member - 1]]);
    }
}

void pool_leave(struct pool_team *team)
{
    if (team->process != atomic_load_explicit(&pool.process, memory_order_relaxed)) {
        return; /* entered before a fork, of which this is the child */
    }
    if (team->members == 1) {
        atomic_fetch_sub(&pool.busy, 1);
        return;
    }
    pthread_mutex_lock(&pool.mutex);
    for (int64_t member = 1; member < team->members; member++) {
        pool.worker[team->workers[member - 1]].reserved = false;
    }
    pool.reserved -= team->members - 1;
    atomic_fetch_sub(&pool.busy, team->members);
    if (pool.reserved == 0 && pool.stopping > 0) {
        pthread_cond_broadcast(&pool.free);
    }
    pthread_mutex_unlock(&pool.mutex);
}

void fastnn_pool_stop(void)
{
    pthread_mutex_lock(&pool.mutex);
    pool.stopping++;
    while (pool.reserved > 0) {
        pthread_cond_wait(&pool.free, &pool.mutex);
    }
    end_workers();
    pool.stopping--;
    pthread_mutex_unlock(&pool.mutex);
}

int64_t fastnn_pool_workers(void)
{
    return atomic_load(&pool.workers);
}

int64_t fastnn_pool_busy(void)
{
    return atomic_load(&pool.busy);
}

/* In the child of a fork only the thread that forked lives: the pool is as new. Others may have held mutexes. */
static void after_fork(void)
{
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.free, NULL);
    pool.reserved = 0;
    pool.stopping = 0;
    atomic_fetch_add(&pool.process, 1);
    atomic_store(&pool.workers, 0);
    atomic_store(&pool.busy, 0);
}

__attribute__((constructor)) static void at_load(void)
{
    pthread_atfork(NULL, NULL, after_fork);
}

/* A thread that still computes at exit is not waited for; its workers end with the process, as it does. */
__attribute__((destructor)) static void at_exit(void)
{
    pthread_mutex_lock(&pool.mutex);
    pool.stopping++;
    if (pool.reserved == 0) {
        end_workers();
    }
    pthread_mutex_unlock(&pool.mutex);
}
