/* Every kernel, for the dtype and the level that the including unit has chosen. A new file of kernels is entered here. */
#include "../dense.c"
#include "../activations.c"
#include "../losses.c"
#include "../normalization.c"
#include "../dropout.c"
#include "../optimizers.c"
#include "../data.c"
#include "../reductions.c"
