// KV in a compressed form: what it takes while a prompt is computed and after, and who may use it.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/rank.h"
#include "sim/state/seen_blocks.h"

namespace kvsim {

// With the last of what is known the sequence also needs the blocks that it goes on in: besides the
// prompt's where these may be others' too, or in their place.
std::int64_t Rank::form_blocks(const Sequence& s, std::int64_t computed) const {
  if (s.turned) return s.curve->decoding(computed - s.prompt);
  const std::int64_t all = s.curve->computing(computed);
  if (computed < s.known()) return all;
  const std::int64_t after = s.curve->decoding(computed - s.prompt);
  return config_.forms->turn() == KvForms::Turn::left ? all + after : std::max(all, after);
}

bool Rank::shares(const Sequence& s) const {
  const KvForms::Turn t = config_.forms->turn();
  return t == KvForms::Turn::in_place || (t == KvForms::Turn::left && !s.turned);
}

// All that is known is computed: from here on the KV is in its compressed form.
void Rank::turn(Sequence& s) {
  const std::int64_t after = s.curve->decoding(s.computed - s.prompt);
  const std::int64_t used = used_blocks();
  s.turned = true;
  ++totals_.forms.turned;
  if (s.curve->history > 0) ++totals_.forms.hidden;
  if (config_.forms->turn() == KvForms::Turn::in_place) {
    KvPool::Hold over;
    over.blank = s.hold.blocks() - after;
    KVSIM_CHECK(over.blank >= 0 && over.blank <= s.hold.blank,
                "{} blocks are held, the compressed form takes {}", s.hold.blocks(), after);
    s.hold.blank = after - s.hold.hashed;
    pool_.release(over);
  } else {
    s.hold.blank -= after;
    KVSIM_CHECK(s.hold.blank >= 0, "{} blocks are held of {}", s.hold.blank + after, after);
    pool_.release(s.hold);
    s.hold.blank = after;
  }
  given_up_ += used - used_blocks();
  if (!is_private()) return;
  std::int64_t begin = 0;
  for (const ContentChunk& c : s.content) {
    const std::int64_t end = std::min(c.end, s.prompt / config_.block_tokens);
    if (end <= begin) break;
    std::int64_t& seen = own_blocks_[c.key];
    seen = std::max(seen, end - begin);
    begin = c.end;
  }
}

std::int64_t Rank::seen_blocks(std::span<const ContentChunk> content, std::int64_t from,
                               std::int64_t most) const {
  if (!is_private()) return pool_.seen_blocks(content, from, most);
  return seen_blocks_of(content, from, most, [this](std::uint64_t key) {
    const auto at = own_blocks_.find(key);
    return at == own_blocks_.end() ? std::int64_t{0} : std::int64_t{at->second};
  });
}

// It holds nothing: from here on until it gives all up.
void Rank::choose_form(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  const KvCurve* hidden = config_.forms != nullptr ? config_.forms->hidden(s.prompt) : nullptr;
  if (hidden == nullptr) return;
  s.curve = scheduler_->keeps_hidden(request_of(slot)) ? hidden : &config_.forms->curve(s.prompt);
}

SchedulerRank::Room Rank::room_of(std::uint32_t slot) const {
  const Sequence& s = sequences_[slot];
  Room room;
  if (s.state == Sequence::State::running) {
    const bool decodes = group_.contains(slot);
    const std::int64_t computed = decodes ? group_.computed(slot) : s.computed;
    room.kv = decodes ? blocks_at(s, computed) : s.hold.blocks();
    if (s.curve == nullptr || s.curve->history == 0) return room;
    room.hidden = room.kv;
    room.kv = config_.forms->curve(s.prompt).computing(computed);
    room.projection = Duration{s.curve->history * computed / kLoadOne};
    return room;
  }
  const std::int64_t known = s.known();
  if (s.hold.blocks() > 0 || is_away(s)) {
    room.kv = kv_blocks(s, known) - s.hold.blocks();
    return room;
  }
  room.kv = config_.forms != nullptr ? config_.forms->curve(s.prompt).computing(known)
                                     : config_.blocks_for(known);
  const KvCurve* hidden = config_.forms != nullptr ? config_.forms->hidden(s.prompt) : nullptr;
  if (hidden == nullptr) return room;
  room.hidden = hidden->computing(known);
  room.projection = Duration{hidden->history * known / kLoadOne};
  return room;
}

std::int64_t Rank::free_blocks() const {
  return std::max<std::int64_t>(0, pool_.free() - watermark() - load_reserve_);
}

// What the iteration does besides the model's own work.
void Rank::plan_forms(Plan& out) {
  for (std::size_t i = 0; i < out.prefills.size(); ++i) {
    const Sequence& s = sequences_[out.prefills[i].slot];
    const PieceLoads one =
        config_.forms->piece(std::max(s.prompt, s.computed), out.prefills[i].piece, out.pieces[i]);
    out.prompts.gpu_ns += one.gpu_ns + s.curve->history * out.prefills[i].piece.history / kLoadOne;
    out.prompts.link_ns += one.link_ns;
  }
  totals_.forms.prompt_ns += out.prompts.gpu_ns;
  totals_.forms.prompt_link_ns += out.prompts.link_ns;
}

KvFormTotals Rank::form_totals() const {
  KvFormTotals t = totals_.forms;
  if (config_.forms != nullptr) t.token_bytes = config_.forms->token_bytes();
  if (group_.forms() == nullptr) return t;
  const auto of = [&](TokenLoad l) { return group_.forms()->done()[static_cast<std::size_t>(l)]; };
  t.score_ns = of(TokenLoad::score);
  t.index_ns = of(TokenLoad::index);
  t.restore_ns = of(TokenLoad::restore);
  t.merge_ns = of(TokenLoad::merge);
  t.encode_ns = of(TokenLoad::encode);
  t.fetch_ns = of(TokenLoad::fetch);
  t.far_ns = of(TokenLoad::far);
  t.read_tokens = of(TokenLoad::context);
  t.kept_tokens = of(TokenLoad::kept);
  t.context_tokens = of(TokenLoad::full);
  return t;
}

}  // namespace kvsim
