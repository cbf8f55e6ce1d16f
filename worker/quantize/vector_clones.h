// Functions compiled for several widths of vectors, the best chosen when the program starts. The compiler neither fuses
// nor reorders anything (-ffp-contract=off), so no bit depends on it.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define MESH_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MESH_VECTOR_CLONES
#endif
