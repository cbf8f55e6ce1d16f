#ifdef MESH_KERNELS_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(MESH_KERNELS_ARM) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(MESH_KERNELS_ARM)
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

// The processor has it (CPUID leaf 7: EDX bits 22, 24 and 25: AMX-BF16, AMX-TILE, AMX-INT8), the system saves the
// registers (XCR0 bits 17 and 18), and gives them to this process, which must ask, once: threads started later inherit
// the leave. The system refuses where it is older than Linux 5.16 or a thread's signal stack is too small.
bool HasAmx() {
#ifdef __linux__
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kNeeded = 1u << 22 | 1u << 24 | 1u << 25;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & kNeeded) != kNeeded) return false;
  constexpr unsigned kOsXsave = 1u << 27;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsXsave) == 0) return false;
  unsigned xcr0 = 0, high = 0;
  asm("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
  constexpr unsigned kTileState = 1u << 17 | 1u << 18;
  if ((xcr0 & kTileState) != kTileState) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM; headers may be older than it
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
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

bool HasI8mm() {
#ifdef __APPLE__
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &size, nullptr, 0) == 0 && has != 0;
#else
  return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
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
    case Isa::kAmx:
      return "amx";
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDotprod:
      return "neondotprod";
    case Isa::kNeonI8mm:
      return "neoni8mm";
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
  if (!__builtin_cpu_supports("avx512bf16")) return isas;
  isas.push_back(Isa::kAvx512Bf16);
  if (HasAmx()) isas.push_back(Isa::kAmx);
#elif defined(MESH_KERNELS_ARM)
  isas.push_back(Isa::kNeon);
  if (!HasDotprod()) return isas;
  isas.push_back(Isa::kNeonDotprod);
  if (HasI8mm()) isas.push_back(Isa::kNeonI8mm);
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
    case Isa::kAmx:
      return AmxKernels();
#elif defined(MESH_KERNELS_ARM)
    case Isa::kNeon:
      return NeonKernels();
    case Isa::kNeonDotprod:
      return NeonDotprodKernels();
    case Isa::kNeonI8mm:
      return NeonI8mmKernels();
#endif
    default:
      break;
  }
  std::abort();
}

}  // namespace slmmesh::kernels
