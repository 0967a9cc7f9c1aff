#include "oci/state.h"

#include <nlohmann/json.hpp>

#include "oci/document.h"
#include "sentry/base/result.h"

namespace oci {
namespace {

using nlohmann::ordered_json;

ordered_json to_document(const State& state) {
  ordered_json document;
  document["ociVersion"] = state.oci_version;
  document["id"] = state.id;
  document["pid"] = state.pid;
  document["status"] = state.status;
  document["bundle"] = state.bundle;
  if (!state.rootfs.empty()) document["rootfs"] = state.rootfs;
  if (!state.created.empty()) document["created"] = state.created;
  if (!state.annotations.empty()) document["annotations"] = state.annotations;
  if (!state.created.empty()) document["owner"] = state.owner;
  return document;
}

ordered_json to_document(const std::vector<Hook>& hooks) {
  ordered_json list = ordered_json::array();
  for (const Hook& hook : hooks) {
    ordered_json each;
    each["path"] = hook.path;
    each["args"] = hook.args;
    each["env"] = hook.env;
    if (hook.timeout_seconds) each["timeout"] = *hook.timeout_seconds;
    list.push_back(std::move(each));
  }
  return list;
}

std::string text_of(const ordered_json& document) {
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Checked<std::vector<std::string>> texts(const Value& object, const char* name) {
  std::vector<std::string> out;
  const Value list = TRY(object.required(name));
  const auto items = TRY(list.items());
  for (const Value& item : items) out.push_back(TRY(item.text()));
  return out;
}

Checked<std::vector<Hook>> hooks_of(const Value& object, const char* name) {
  std::vector<Hook> hooks;
  const Value list = TRY(object.required(name));
  const auto items = TRY(list.items());
  for (const Value& item : items) {
    Hook hook;
    const Value path = TRY(item.required("path"));
    hook.path = TRY(path.text());
    hook.args = TRY(texts(item, "args"));
    hook.env = TRY(texts(item, "env"));
    if (const auto timeout = TRY(item.member("timeout")))
      hook.timeout_seconds = TRY(timeout->integer<uint32_t>());
    hooks.push_back(std::move(hook));
  }
  return hooks;
}

Checked<std::string> text_of(const Value& object, const char* name) {
  const auto value = TRY(object.member(name));
  if (!value) return std::string();
  return value->text();
}

Checked<pid_t> pid_of(const Value& object, const char* name) {
  const Value value = TRY(object.required(name));
  return value.integer<pid_t>(0);
}

Checked<State> state_of(const Value& object) {
  State state;
  state.oci_version = TRY(text_of(object, "ociVersion"));
  state.id = TRY(text_of(object, "id"));
  state.pid = TRY(pid_of(object, "pid"));
  state.status = TRY(text_of(object, "status"));
  state.bundle = TRY(text_of(object, "bundle"));
  state.rootfs = TRY(text_of(object, "rootfs"));
  state.created = TRY(text_of(object, "created"));
  state.owner = TRY(text_of(object, "owner"));
  if (const auto annotations = TRY(object.member("annotations"))) {
    const auto members = TRY(annotations->members());
    for (const auto& [name, value] : members) state.annotations[name] = TRY(value.text());
  }
  return state;
}

}  // namespace

std::string to_json(const State& state) { return text_of(to_document(state)); }

std::string to_json(const std::vector<State>& states) {
  ordered_json list = ordered_json::array();
  for (const State& state : states) list.push_back(to_document(state));
  return text_of(list);
}

std::string to_json(const Record& record) {
  ordered_json document;
  document["state"] = to_document(record.state);
  document["detached"] = record.detached;
  document["sandbox"] = record.sandbox;
  document["sentry"] = record.sentry;
  document["gofer"] = record.gofer;
  document["cgroups"] = ordered_json::array();
  for (const auto& [controller, directory] : record.cgroups)
    document["cgroups"].push_back({{"controller", controller}, {"directory", directory}});
  document["scope"] = record.scope;
  document["poststart"] = to_document(record.poststart);
  document["poststop"] = to_document(record.poststop);
  document["startContainer"] = to_document(record.start_container);
  return text_of(document);
}

Checked<Record> parse_record(std::string_view json) {
  const nlohmann::json parsed = TRY(parse_document(json));
  const Value document(parsed, "");
  Record record;
  const Value state = TRY(document.required("state")), detached = TRY(document.required("detached")),
              cgroups = TRY(document.required("cgroups"));
  record.state = TRY(state_of(state));
  record.detached = TRY(detached.boolean());
  record.sandbox = TRY(text_of(document, "sandbox"));
  record.sentry = TRY(pid_of(document, "sentry"));
  record.gofer = TRY(pid_of(document, "gofer"));
  const auto items = TRY(cgroups.items());
  for (const Value& item : items)
    record.cgroups.emplace_back(TRY(text_of(item, "controller")), TRY(text_of(item, "directory")));
  record.scope = TRY(text_of(document, "scope"));
  record.poststart = TRY(hooks_of(document, "poststart"));
  record.poststop = TRY(hooks_of(document, "poststop"));
  record.start_container = TRY(hooks_of(document, "startContainer"));
  return record;
}

}  // namespace oci
