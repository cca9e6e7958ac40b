/* The floating-point mode of the calling thread. The functions are the twins of those in fastnn/kernels/numba/floating.py. */
#ifndef FASTNN_FLOATING_H
#define FASTNN_FLOATING_H

#include <stdint.h>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

/* Rounding, subnormal numbers and traps, without the flags of what has happened: those are left alone. */
static inline uint64_t floating_mode(void)
{
#if defined(__x86_64__)
    return _mm_getcsr() & 0xffc0u;
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
#else
    return 0;
#endif
}

/* Puts such a mode in force. */
static inline void set_floating_mode(uint64_t mode)
{
#if defined(__x86_64__)
    _mm_setcsr((unsigned)mode | (_mm_getcsr() & 0x3fu));
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

/* That mode with subnormal operands and results taken as zeros: FTZ and DAZ of x86, FZ of ARM. */
static inline uint64_t flushing(uint64_t mode)
{
#if defined(__x86_64__)
    return mode | 0x8040u;
#elif defined(__aarch64__)
    return mode | UINT64_C(1) << 24;
#else
    return mode;
#endif
}

#endif
