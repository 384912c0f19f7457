#include "models/recurrent.h"

#include <algorithm>

namespace kvsim {

namespace {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The widths with their zeros resolved.
struct Widths {
  explicit Widths(const ModelSpec& m) : D(m.hidden) {
    const RecurrentSpec& r = *m.recurrent;
    I = r.inner > 0 ? r.inner : D;
    N = r.state;
    H = r.heads;
    Hk = r.key_heads > 0 ? r.key_heads : H;
    k = r.key_dim;
    v = r.value_dim > 0 ? r.value_dim : k;
    c = r.conv;
    R = r.rank > 0 ? r.rank : ceil_div(D, 16);
    G = r.groups;
  }
  std::int64_t D, I = 0, N = 0, H = 0, Hk = 0, k = 0, v = 0, c = 0, R = 0, G = 0;
  [[nodiscard]] std::int64_t keys() const { return Hk * k; }  // all key heads together
  [[nodiscard]] std::int64_t values() const { return H * v; }
  // Channels that the convolution of a linear attention runs over: queries, keys, values.
  [[nodiscard]] std::int64_t mixed() const { return 2 * keys() + values(); }
};

StateElements elements_of(const ModelSpec& m) {
  const Widths w(m);
  switch (m.recurrent->mixer) {
    case Mixer::given:
      return {};
    case Mixer::mamba:
      return {w.I * w.N, w.I * w.c};
    case Mixer::mamba_2:
      return {w.I * w.N, (w.I + 2 * w.G * w.N) * w.c};
    case Mixer::rwkv_4:
      return {5 * w.D, 0};
    case Mixer::rwkv_6:
      return {w.D * w.k + 2 * w.D, 0};
    case Mixer::retention:
    case Mixer::gated_linear:
      return {w.H * w.k * w.v, 0};
    case Mixer::delta:
    case Mixer::gated_delta:
      return {w.H * w.k * w.v, w.mixed() * w.c};
    case Mixer::rg_lru:
      return {w.I, w.I * w.c};
  }
  return {};
}

// Vectors (norms, decays, mixing coefficients) are counted where they have names in the reference
// implementation; they are below a thousandth of the weights.
std::int64_t parameters_of(const ModelSpec& m) {
  const Widths w(m);
  switch (m.recurrent->mixer) {
    case Mixer::given:
      return 0;
    case Mixer::mamba:  // in, convolution with bias, B C and dt, dt, A and D, out
      return w.D * 2 * w.I + w.I * (w.c + 1) + w.I * (w.R + 2 * w.N) + (w.R + 1) * w.I +
             w.I * (w.N + 1) + w.I * w.D;
    case Mixer::mamba_2: {  // one projection for x, z, B, C, dt; A, D, bias of dt; gated norm
      const std::int64_t bc = 2 * w.G * w.N;
      return w.D * (2 * w.I + bc + w.H) + (w.I + bc) * (w.c + 1) + 3 * w.H + w.I + w.I * w.D;
    }
    case Mixer::rwkv_4:  // r k v o, and the receptance of its feed-forward part
      return 5 * w.D * w.D + 7 * w.D;
    case Mixer::rwkv_6:  // r k v g o, receptance; low-rank mixes and decay
      return 6 * w.D * w.D + w.D * (10 * w.R + 4 * w.R) + 10 * w.D;
    case Mixer::retention:  // q, k, v, gate, out
      return w.D * (2 * w.keys() + 2 * w.values()) + w.values() * w.D;
    case Mixer::gated_linear:  // the decay has a projection of low rank
      return w.D * (2 * w.keys() + 2 * w.values()) + w.values() * w.D + w.R * (w.D + w.keys());
    case Mixer::delta:  // a write strength per head
      return w.D * w.mixed() + w.D * w.H + w.mixed() * w.c + w.values() * w.D + w.v;
    case Mixer::gated_delta:  // write strength, decay and an output gate
      return w.D * (w.mixed() + w.values() + 2 * w.H) + w.mixed() * w.c + 2 * w.H + w.v +
             w.values() * w.D;
    case Mixer::rg_lru:  // two branches, out, convolution, two gates of H diagonal blocks
      return 3 * w.D * w.I + 2 * w.I + w.D + w.I * (w.c + 1) +
             2 * (w.H * (w.I / w.H) * (w.I / w.H) + w.I) + w.I;
  }
  return 0;
}

}  // namespace

StateElements state_elements(const ModelSpec& m) {
  if (!m.recurrent) return {};
  if (m.recurrent->state_elements > 0) return {m.recurrent->state_elements, 0};
  return elements_of(m);
}

std::int64_t mixer_parameters(const ModelSpec& m) {
  return m.recurrent->parameters > 0 ? m.recurrent->parameters : parameters_of(m);
}

double update_flops(const ModelSpec& m) {
  const Mixer x = m.recurrent->mixer;
  return x == Mixer::delta || x == Mixer::gated_delta ? 8 : 6;
}

Bytes layer_state_bytes(const ModelSpec& m, int tensor) {
  if (!m.recurrent) return Bytes{0};
  const StateElements e = state_elements(m);
  return Bytes{ceil_div(ceil_div(e.state, tensor) * bits(m.recurrent->dtype), 8) +
               2 * ceil_div(e.conv, tensor)};
}

Bytes layer_memory_bytes(const ModelSpec& m, int tensor) {
  return Bytes{m.memory ? 2 * ceil_div(m.memory->state_elements, tensor) : 0};
}

Bytes sequence_state_bytes(const ModelSpec& m, int tensor) {
  Bytes sum{0};
  for (const Layer& l : layers_of(m)) {
    if (l.attention == AttentionKind::recurrent) sum += layer_state_bytes(m, tensor);
    if (attends(l.attention)) sum += layer_memory_bytes(m, tensor);
  }
  return sum;
}

}  // namespace kvsim
