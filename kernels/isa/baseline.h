/* 16 bytes, which every x86-64 and every aarch64 has. */
#define ISA baseline
#define VECTOR_BYTES 16
