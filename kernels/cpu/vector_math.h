// exp and silu over an instruction set's Vec16: our own polynomial in a fixed order, so every set gives the same bits.
#pragma once

namespace slmmesh::kernels {

// e^x within 2 ulp for x in [-87, 88]; beyond, as at the bound. A NaN stays one.
template <typename Vec16>
inline Vec16 Exp(Vec16 x) {
  x = Min(Vec16::Splat(88.0f), Max(Vec16::Splat(-87.0f), x));
  // Adding 1.5 * 2^23 rounds x / ln 2 to an integer n and leaves n in the low bits.
  const Vec16 magic = Vec16::Splat(12582912.0f);
  const Vec16 shifted = Fma(x, Vec16::Splat(1.44269504f), magic);
  const Vec16 n = shifted - magic;
  Vec16 r = Fma(n, Vec16::Splat(-0.693359375f), x);  // ln 2 in two parts; r in [-ln 2 / 2, ln 2 / 2]
  r = Fma(n, Vec16::Splat(2.12194440e-4f), r);
  Vec16 p = Vec16::Splat(1.9875691500e-4f);  // Cephes' minimax polynomial for (e^r - 1 - r) / r^2
  p = Fma(p, r, Vec16::Splat(1.3981999507e-3f));
  p = Fma(p, r, Vec16::Splat(8.3334519073e-3f));
  p = Fma(p, r, Vec16::Splat(4.1665795894e-2f));
  p = Fma(p, r, Vec16::Splat(1.6666665459e-1f));
  p = Fma(p, r, Vec16::Splat(5.0000001201e-1f));
  p = Fma(p, r * r, r + Vec16::Splat(1.0f));
  return p * PowerOfTwo(shifted);
}

// x / (1 + e^-x)
template <typename Vec16>
inline Vec16 Silu(Vec16 x) {
  return x / (Vec16::Splat(1.0f) + Exp(Vec16::Splat(0.0f) - x));
}

}  // namespace slmmesh::kernels
