// SPDX-License-Identifier: Apache-2.0
#include "model/json_tree.hpp"

#include <vector>

#include "model/json.hpp"
#include "model/validation.hpp"

namespace rapport {
namespace {

using Json = nlohmann::json;

void take_apart(Json& tree) noexcept {
    if (!tree.is_structured()) return;
    for (Json& part : tree) take_apart(part);
    tree.clear();
}

/// Makes the tree of a text, and stops at the first thing that must not reach it: nesting that is
/// too deep, too many values, an object that names a key twice, or a text that is no JSON.
class TreeBuilder : public nlohmann::json_sax<Json> {
public:
    TreeBuilder(JsonTree& out, std::size_t values_max)
        : out_(out), place_(&out.tree), values_left_(values_max) {}

    bool null() override { return put(nullptr); }
    bool boolean(bool value) override { return put(value); }
    bool number_integer(number_integer_t value) override { return put(value); }
    bool number_unsigned(number_unsigned_t value) override { return put(value); }
    bool number_float(number_float_t value, const string_t&) override { return put(value); }
    bool string(string_t& value) override { return put(std::move(value)); }
    bool binary(binary_t&) override { return stop(refusal_code::kNotJson); }
    bool start_object(std::size_t) override { return open(Json::object()); }
    bool end_object() override { return close(); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool end_array() override { return close(); }
    bool key(string_t& name) override {
        auto& members = open_.back()->get_ref<Json::object_t&>();
        const auto [at, is_new] = members.emplace(std::move(name), nullptr);
        place_ = &at->second;
        return is_new || stop(refusal_code::kDuplicateKey);
    }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
        return stop(refusal_code::kNotJson);
    }

private:
    bool put(Json value) {
        if (values_left_-- == 0) return stop(refusal_code::kTooManyValues);
        if (!open_.empty() && open_.back()->is_array()) {
            auto& elements = open_.back()->get_ref<Json::array_t&>();
            elements.push_back(std::move(value));
            place_ = &elements.back();
        } else {
            *place_ = std::move(value);
        }
        return true;
    }
    bool open(Json value) {
        if (!put(std::move(value))) return false;
        open_.push_back(place_);
        return static_cast<int>(open_.size()) <= kJsonDepthMax || stop(refusal_code::kTooDeep);
    }
    bool close() {
        open_.pop_back();
        return true;
    }
    bool stop(RefusalCode code) {
        if (!out_.fault) out_.fault = code;
        return false;
    }
    JsonTree& out_;
    Json* place_;              // of the value put last, or of the one that follows its key
    std::vector<Json*> open_;  // objects and arrays; only the innermost one grows
    std::size_t values_left_;
};

JsonTree built(std::string_view text, std::size_t values_max) {
    JsonTree read;
    TreeBuilder builder(read, values_max);
    if (!Json::sax_parse(text, &builder)) {
        if (!read.fault) read.fault = RefusalCode(refusal_code::kNotJson);
        take_apart(read.tree);
        read.tree = nullptr;
    }
    return read;
}

}  // namespace

JsonTree::~JsonTree() { take_apart(tree); }

JsonTree read_json(std::string_view text) {
    if (text.size() <= kJsonBytesMax) return built(text, kJsonValuesMax);
    JsonTree read;
    read.fault = RefusalCode(refusal_code::kTooLarge);
    return read;
}

JsonTree read_stored_json(std::string_view text) { return built(text, SIZE_MAX); }

std::string dumped(const Json& tree) {
    return tree.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace rapport
