// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "every_header.hpp"

int main() {
    rapport::Store store = rapport::Store::open("capture.rapport");
    const auto [id, captured] = store.put(rapport::Customer{.name = "Molkerei Morkenhoven"});
    for (const rapport::Refusal& r : captured.refusals) std::cerr << r.sentence << '\n';
    const auto read = store.read(id);
    if (!captured || !read || read->name != "Molkerei Morkenhoven") return 1;
    std::cout << "captured " << id.text() << '\n';
}
