// SPDX-License-Identifier: Apache-2.0
#include "model/home.hpp"

#include <algorithm>

namespace rapport {
namespace {

std::string text_of(const Value& value) { return value.text() ? *value.text() : std::string(); }

std::string person(std::string_view name) {
    return name.empty() ? std::string() : "rep/" + std::string(name);
}

}  // namespace

std::string own_scope(const Record& record, std::string_view author) {
    switch (record.kind->home) {
        case Home::global:
            return "global";
        case Home::person: {
            const std::string assignee = text_of(record.value("assignee"));
            return person(assignee.empty() ? author : assignee);
        }
        case Home::target: {
            // The parts of a QuestionTarget: who, code.
            const Parts* target = record.value("target").parts();
            const bool of_territory = target && target->size() == 2 &&
                                      (*target)[0] == Value("territory") && (*target)[1].text();
            return of_territory ? "territory/" + *(*target)[1].text() : "global";
        }
        case Home::policy: {
            const std::string role = text_of(record.value("role"));
            return role.empty() ? std::string() : "policy/" + role;
        }
        case Home::customer_or_person:
            return record.value(record.kind->root).is_null() ? person(author) : std::string();
        case Home::territory:
        case Home::customer:
        case Home::subject:
            break;
    }
    return {};
}

bool covers(std::string_view granted, std::string_view scope) {
    if (!granted.empty() && granted.back() == '*')
        return scope.substr(0, granted.size() - 1) == granted.substr(0, granted.size() - 1);
    return granted == scope;
}

bool reaches(const std::vector<std::string>& granted, Role role, std::string_view rep,
             std::string_view scope) {
    constexpr std::string_view kPerson = "rep/", kPolicy = "policy/";
    if (scope.empty()) return false;
    if (scope == "global") return true;
    if (scope.substr(0, kPerson.size()) == kPerson && scope.substr(kPerson.size()) == rep)
        return true;
    if (scope.substr(0, kPolicy.size()) == kPolicy &&
        (role == Role::price || scope.substr(kPolicy.size()) == name_of(role)))
        return true;
    return std::any_of(granted.begin(), granted.end(),
                       [&](const std::string& each) { return covers(each, scope); });
}

}  // namespace rapport
