#include "sim/quality/spec.h"

namespace kvsim {

KVSIM_FIELDS_HERE(quality::QualitySpec)
KVSIM_FIELDS_HERE(quality::QualityFile)

namespace {

// "h2o", "quantize kivi": what an item of a pipeline is called where nobody named it.
std::string item_label(const Tree& item) {
  if (item.is_scalar()) return item.text();
  if (const Tree* name = item.find("policy"); name != nullptr && name->is_scalar())
    return name->text();
  std::string all;
  for (const Tree::Entry& e : item.entries()) {
    const Tree* name = e.value.is_scalar() ? &e.value : e.value.find("policy");
    all += (all.empty() ? "" : " ") + e.key +
           (name != nullptr && name->is_scalar() ? " " + name->text() : "");
  }
  return all;
}

std::string pipeline_label(const Tree& pipeline) {
  std::string all;
  for (const Tree& item : pipeline.items()) all += (all.empty() ? "" : " + ") + item_label(item);
  return all.empty() ? "full" : all;
}

}  // namespace

bool Codec<quality::PolicySpec>::read(const Tree& t, quality::PolicySpec& out, Reader& r) {
  Tree item = t;
  out = {};
  if (const Tree* label = t.find("label"); label != nullptr) {
    const Reader::Scope scope(r, "label");
    if (!Codec<std::string>::read(*label, out.label, r)) return false;
    item.erase("label");
  }
  const Tree* list = item.find("pipeline");
  if (list != nullptr && item.entries().size() > 1) {
    const Tree::Entry& other = item.entries()[item.entries()[0].key == "pipeline" ? 1 : 0];
    r.error_at(other.key_place, other.key, "stands beside a whole pipeline",
               "put it into the list of `pipeline`");
    return false;
  }
  if (list != nullptr && !list->is_list())
    return r.error(*list, "expected a list, such as [h2o, {quantize: kivi}]"), false;
  if (list == nullptr && !item.is_scalar() && !item.is_map())
    return r.error(t, "expected the name of a token policy, or a mapping",
                   "such as snapkv, or {label: mix, pipeline: [h2o, {quantize: kivi}]}"),
           false;
  out.pipeline = Tree::list(t.place());
  if (list == nullptr) out.pipeline.push(item);
  for (std::size_t i = 0; list != nullptr && i < list->items().size(); ++i)
    out.pipeline.push(list->items()[i]);
  if (out.label.empty()) out.label = pipeline_label(out.pipeline);
  return true;
}

Tree Codec<quality::PolicySpec>::write(const quality::PolicySpec& v) {
  Tree t = Tree::map();
  t.set("label", Tree::scalar(v.label));
  t.set("pipeline", v.pipeline);
  return t;
}

TypeInfo Codec<quality::PolicySpec>::info() {
  TypeInfo i = choice_info(token::TokenPolicies::kKind, "policy");
  i.name = "token policy, or {label, pipeline}";
  i.is_open = true;
  return i;
}

namespace quality {

NamedPolicies resolve(const PolicySpec& spec, const token::KvShape& shape, Reader& r) {
  NamedPolicies out{spec.label, {}};
  const std::size_t before = r.diagnostics().all().size();
  out.policies = token::read_token_policies(spec.pipeline, r);
  if (r.diagnostics().all().size() != before) return out;
  token::Surroundings around;
  around.shape = shape;
  for (const token::Finding& f : token::check_composition(out.policies, around))
    if (f.error) r.error(spec.pipeline, f.section + ": " + f.text, f.hint);
  return out;
}

}  // namespace quality
}  // namespace kvsim
