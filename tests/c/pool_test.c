/* Tests of kernels/pool.c: `pool_test <scenario>` returns 0, or says which claim failed and where. tests/test_pool.py
 * builds it, plainly and under sanitizers, with pthread_create renamed to create_thread in pool.c, so that a test can
 * refuse threads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

#include "pool.h"

#define CHECK(claim)                                                       \
    do {                                                                   \
        if (!(claim)) {                                                    \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
            _exit(1);                                                      \
        }                                                                  \
    } while (0)

enum { PARTS = 1000 };

int create_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

static _Atomic int64_t allowed = INT64_MAX; /* threads that may still be created */

int create_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    return atomic_fetch_sub(&allowed, 1) > 0 ? pthread_create(thread, attributes, start, argument) : 11; /* EAGAIN */
}

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void work_for(int64_t duration)
{
    for (const int64_t end = nanoseconds() + duration; nanoseconds() < end;) {
    }
}

static void sleep_for(int64_t microseconds)
{
    usleep((unsigned)microseconds);
}

static int64_t cpus(void)
{
#ifdef __linux__
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    return CPU_COUNT(&set);
#else
    return sysconf(_SC_NPROCESSORS_ONLN);
#endif
}

/* A step: part p works on its neighbour's number of the step before, so that what one thread wrote is read by another.
 * All of it is plain memory: only the pool orders it. */
struct job {
    int64_t parts, step;
    int64_t numbers[2][PARTS];
    pthread_t who[PARTS];
    int64_t delay; /* nanoseconds that part 1 takes longer */
};

static void step_part(void *context, int64_t part)
{
    struct job *job = context;
    const int64_t *old = job->numbers[job->step % 2];
    job->numbers[(job->step + 1) % 2][part] = old[(part + 1) % job->parts] + part + job->step;
    job->who[part] = pthread_self();
    if (part == 1 && job->delay > 0) {
        work_for(job->delay);
    }
}

/* One step with the team, compared with the same step done here. */
static void check_step(struct pool_team *team, struct job *job)
{
    int64_t expected[PARTS];
    for (int64_t part = 0; part < job->parts; part++) {
        expected[part] = job->numbers[job->step % 2][(part + 1) % job->parts] + part + job->step;
    }
    pool_run(team, step_part, job, job->parts);
    job->step++;
    CHECK(memcmp(expected, job->numbers[job->step % 2], sizeof *expected * (size_t)job->parts) == 0);
}

static void train(int64_t threads, int64_t parts, int64_t steps, int64_t delay)
{
    struct job job = {.parts = parts, .delay = delay}; /* not on the heap: ASan's allocator does not survive forks */
    struct pool_team team;
    pool_enter(&team, threads);
    for (int64_t step = 0; step < steps; step++) {
        check_step(&team, &job);
    }
    pool_leave(&team);
}

static void sums(void)
{
    static const int64_t threads[] = {0, 1, 2, 3, 7}, parts[] = {0, 1, 2, 3, 5, 64, PARTS};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        for (size_t j = 0; j < sizeof parts / sizeof *parts; j++) {
            train(threads[i], parts[j], 200, 0);
        }
    }
    CHECK(fastnn_pool_workers() == 6);
    CHECK(fastnn_pool_busy() == 0);
}

static void places(void)
{
    static struct job job = {.parts = 20};
    struct pool_team team;
    pool_enter(&team, 3);
    CHECK(team.members == 3);
    check_step(&team, &job);
    pthread_t first[3];
    memcpy(first, job.who, sizeof first);
    CHECK(pthread_equal(first[0], pthread_self()));
    CHECK(!pthread_equal(first[0], first[1]) && !pthread_equal(first[0], first[2]));
    CHECK(!pthread_equal(first[1], first[2]));
    for (int64_t run = 0; run < 100; run++) {
        check_step(&team, &job);
        for (int64_t part = 0; part < job.parts; part++) {
            CHECK(pthread_equal(job.who[part], first[part % 3]));
        }
        if (run % 10 == 0) {
            pool_leave(&team);
            pool_enter(&team, 3);
        }
    }
    pool_leave(&team);
}

static void *one_caller(void *argument)
{
    const int64_t seed = *(int64_t *)argument;
    for (int64_t round = 0; round < 200; round++) {
        train(1 + (seed + round) % 4, 1 + (seed * 7 + round) % 20, 10, 0);
    }
    return NULL;
}

/* Runs `function` on so many threads, with their numbers as arguments. */
static void on_threads(int64_t count, void *(*function)(void *))
{
    pthread_t thread[16];
    int64_t number[16];
    for (int64_t i = 0; i < count; i++) {
        number[i] = i;
        CHECK(pthread_create(&thread[i], NULL, function, &number[i]) == 0);
    }
    for (int64_t i = 0; i < count; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
}

static void callers(void)
{
    on_threads(8, one_caller);
    CHECK(fastnn_pool_busy() == 0);
}

static void limit(void)
{
    struct pool_team alone, second, single;
    pool_enter(&alone, cpus() + 5);
    CHECK(alone.members == cpus() + 5 && fastnn_pool_busy() == cpus() + 5);
    pool_enter(&second, 4);
    CHECK(second.members == 1 && fastnn_pool_busy() == cpus() + 6);
    pool_leave(&second);
    pool_leave(&alone);
    CHECK(fastnn_pool_busy() == 0);
    pool_enter(&single, 1);
    pool_enter(&second, cpus() + 5);
    CHECK(fastnn_pool_busy() == (cpus() > 2 ? cpus() : 2));
    CHECK(second.members == (cpus() > 2 ? cpus() - 1 : 1));
    pool_leave(&single);
    pool_leave(&second);
    pool_enter(&alone, 1000000);
    CHECK(alone.members == POOL_WORKERS + 1 && fastnn_pool_workers() == POOL_WORKERS);
    pool_leave(&alone);
    CHECK(fastnn_pool_busy() == 0);
}

static void refused(void)
{
    struct pool_team team;
    atomic_store(&allowed, 0);
    train(4, 10, 10, 0);
    CHECK(fastnn_pool_workers() == 0);
    atomic_store(&allowed, 2);
    pool_enter(&team, 6);
    CHECK(team.members == 3 && fastnn_pool_busy() == 3);
    pool_leave(&team);
    train(6, 10, 10, 0);
    atomic_store(&allowed, INT64_MAX);
    train(6, 10, 10, 0);
    CHECK(fastnn_pool_workers() == 5 && fastnn_pool_busy() == 0);
}

/* Pauses, and parts that take longer, of about the time after which a worker or the caller falls asleep: a wake-up
 * that is lost is a hang. */
static void sleeps(void)
{
    struct job job = {.parts = 4};
    struct pool_team team;
    pool_enter(&team, 2);
    for (int64_t round = 0; round < 6000; round++) {
        job.delay = round % 3 == 0 ? 45000 + round % 97 * 200 : 0;
        work_for(round % 2 == 0 ? 45000 + round % 101 * 200 : 0);
        check_step(&team, &job);
    }
    job.delay = 5000000;
    for (int64_t round = 0; round < 50; round++) {
        sleep_for(round % 5 * 1000);
        check_step(&team, &job);
    }
    pool_leave(&team);
}

static void crowd(void)
{
    const int64_t begin = nanoseconds();
    train(7, 7, 5000, 0);
    train(64, 64, 200, 0);
    const double seconds = (double)(nanoseconds() - begin) / 1e9;
    printf("%.3f s\n", seconds);
    CHECK(seconds < 8); /* 0.3 on two cores; a stall of 10 ms at each step would make it 52 */
}

static int64_t used_cpu_time(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

static void idle(void)
{
    int64_t used = 0;
    for (int64_t round = 0; round < 20; round++) {
        train(2, 10, 100, 0); /* one worker, which has a CPU for itself to poll on */
        used -= used_cpu_time();
        sleep_for(20000);
        used += used_cpu_time();
    }
    printf("%lld us\n", (long long)used / 1000);
    CHECK(used < 20 * 1000000); /* it is to poll for 50 us, TSan has a thread of its own that takes 200 */
}

static void wait_for_success(pid_t child)
{
    int status = 1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static atomic_bool over;

static void *until_over(void *argument)
{
    (void)argument;
    while (!atomic_load(&over)) {
        train(3, 10, 20, 0);
    }
    return NULL;
}

static void train_in_child(void)
{
    CHECK(fastnn_pool_workers() == 0 && fastnn_pool_busy() == 0);
    train(3, 10, 100, 0);
    CHECK(fastnn_pool_workers() == 2 && fastnn_pool_busy() == 0);
    fastnn_pool_stop();
    CHECK(fastnn_pool_workers() == 0);
}

/* ASan takes a lock of its own where threads start, which a child inherits locked if another thread has it at that moment:
 * the child's first new thread then waits for ever. */
#if defined(__SANITIZE_ADDRESS__)
enum { FORKS_BESIDE_OTHERS = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { FORKS_BESIDE_OTHERS = 0 };
#else
enum { FORKS_BESIDE_OTHERS = 40 };
#endif
#else
enum { FORKS_BESIDE_OTHERS = 40 };
#endif

static void forks(void)
{
    train(3, 10, 100, 0);
    static struct job job = {.parts = 10};
    struct pool_team team;
    pool_enter(&team, 3);
    check_step(&team, &job);
    pid_t child = fork(); /* in a team, and once more in the child */
    if (child == 0) {
        check_step(&team, &job);
        pool_leave(&team);
        train_in_child();
        train(3, 10, 10, 0);
        child = fork();
        if (child == 0) {
            train_in_child();
            exit(0);
        }
        wait_for_success(child);
        train(3, 10, 10, 0);
        exit(0);
    }
    check_step(&team, &job);
    pool_leave(&team);
    wait_for_success(child);
    pthread_t others[3];
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&others[i], NULL, until_over, NULL) == 0);
    }
    for (int round = 0; round < FORKS_BESIDE_OTHERS; round++) { /* while others train */
        sleep_for(500);
        child = fork();
        if (child == 0) {
            train_in_child();
            exit(0);
        }
        train(3, 10, 20, 0);
        wait_for_success(child);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(others[i], NULL);
    }
    CHECK(fastnn_pool_busy() == 0);
}

/* A number of /proc/self/status; 0 where there is no /proc. */
static int64_t status_of_process(const char *key)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long value = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            CHECK(sscanf(line + strlen(key), "%lld", &value) == 1);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return value;
}

static void start_stop(int64_t rounds, bool sanitized)
{
    fastnn_pool_stop(); /* no workers yet */
    int64_t threads = 0, memory = 0;
    for (int64_t round = 0; round < rounds; round++) {
        train(2 + round % 2, 4, 2, 0);
        CHECK(fastnn_pool_workers() == 1 + round % 2);
        if (round % 16 == 0) {
            sleep_for(60); /* asleep when stopped */
        }
        fastnn_pool_stop();
        CHECK(fastnn_pool_workers() == 0);
        if (round == rounds / 10) {
            fastnn_pool_stop();
            threads = status_of_process("Threads:");
            memory = status_of_process("VmRSS:");
        }
    }
    /* A joined thread leaves the list a moment later. */
    for (int i = 0; i < 100 && status_of_process("Threads:") > threads; i++) {
        sleep_for(1000);
    }
    printf("%lld threads, %lld KiB more\n", (long long)status_of_process("Threads:"),
           (long long)(status_of_process("VmRSS:") - memory));
    CHECK(status_of_process("Threads:") <= threads);
    CHECK(sanitized || status_of_process("VmRSS:") - memory < 512);
}

static void stops(void)
{
    pthread_t others[4];
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&others[i], NULL, until_over, NULL) == 0);
    }
    for (int round = 0; round < 300; round++) {
        fastnn_pool_stop();
        train(2, 5, 3, 0);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++) {
        pthread_join(others[i], NULL);
    }
    fastnn_pool_stop();
    CHECK(fastnn_pool_workers() == 0 && fastnn_pool_busy() == 0);
}

/* The process must end although a thread still computes. */
static void leaving(void)
{
    pthread_t other;
    CHECK(pthread_create(&other, NULL, until_over, NULL) == 0);
    pthread_detach(other);
    train(2, 5, 3, 0);
    sleep_for(2000);
    exit(0);
}

static void halve(void *context, int64_t part)
{
    volatile float number = 1.2e-38f; /* half of it is subnormal */
    ((float *)context)[part] = number * 0.5f;
}

static void modes(void)
{
#ifdef __x86_64__
    struct pool_team team;
    for (int round = 0; round < 4; round++) {
        const unsigned flush = round % 2 == 0 ? 0u : 0x8040u;
        float results[2] = {-1, -1};
        _mm_setcsr((_mm_getcsr() & ~0x8040u) | flush);
        pool_enter(&team, 2);
        CHECK(team.members == 2);
        pool_run(&team, halve, results, 2);
        pool_leave(&team);
        _mm_setcsr(_mm_getcsr() & ~0x8040u);
        CHECK((results[0] == 0) == (flush != 0));
        CHECK(results[0] == results[1]);
    }
#endif
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {
        {"sums", sums}, {"places", places}, {"callers", callers}, {"limit", limit},
        {"refused", refused}, {"sleeps", sleeps}, {"crowd", crowd}, {"idle", idle},
        {"forks", forks}, {"stops", stops}, {"leaving", leaving}, {"modes", modes},
    };
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "start_stop") == 0) { /* rounds, and anything more if memory is not to be counted */
        CHECK(argc > 2);
        start_stop(atoll(argv[2]), argc > 3);
        return 0;
    }
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(name, scenarios[i].name) == 0) {
            scenarios[i].run();
            return 0;
        }
    }
    fprintf(stderr, "pool_test: no scenario '%s'\n", name);
    return 2;
}
