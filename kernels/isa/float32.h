#define DTYPE float32
#define REAL float
#define INT int32_t
#define UINT uint32_t
#define REAL_IS_FLOAT 1
