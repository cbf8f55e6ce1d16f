#ifdef MESH_KERNELS_X86
#include <cpuid.h>
#elif defined(MESH_KERNELS_ARM) && !defined(__APPLE__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <cstdlib>

#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {
#ifdef MESH_KERNELS_X86
namespace {

// g++ 12 does not know the name. CPUID leaf 7, subleaf 1: EAX bit 4 (Intel's manual, volume 2A).
bool HasAvxVnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}

}  // namespace
#elif defined(MESH_KERNELS_ARM)
namespace {

bool HasDotprod() {
#ifdef __APPLE__
  return true;  // from the first of Apple's own
#else
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
}

}  // namespace
#endif

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return "reference";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDotprod:
      return "neondotprod";
  }
  std::abort();
}

std::vector<Isa> SupportedIsas() {
  std::vector<Isa> isas = {Isa::kReference};
#ifdef MESH_KERNELS_X86
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return isas;
  isas.push_back(Isa::kAvx2);
  if (HasAvxVnni()) isas.push_back(Isa::kAvxVnni);
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return isas;
  }
  isas.push_back(Isa::kAvx512);
  if (!__builtin_cpu_supports("avx512vnni")) return isas;
  isas.push_back(Isa::kAvx512Vnni);
  if (__builtin_cpu_supports("avx512bf16")) isas.push_back(Isa::kAvx512Bf16);
#elif defined(MESH_KERNELS_ARM)
  isas.push_back(Isa::kNeon);
  if (HasDotprod()) isas.push_back(Isa::kNeonDotprod);
#endif
  return isas;
}

const KernelTable& KernelsFor(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return ReferenceKernels();
#ifdef MESH_KERNELS_X86
    case Isa::kAvx2:
      return Avx2Kernels();
    case Isa::kAvxVnni:
      return AvxVnniKernels();
    case Isa::kAvx512:
      return Avx512Kernels();
    case Isa::kAvx512Vnni:
      return Avx512VnniKernels();
    case Isa::kAvx512Bf16:
      return Avx512Bf16Kernels();
#elif defined(MESH_KERNELS_ARM)
    case Isa::kNeon:
      return NeonKernels();
    case Isa::kNeonDotprod:
      return NeonDotprodKernels();
#endif
    default:
      break;
  }
  std::abort();
}

}  // namespace slmmesh::kernels
