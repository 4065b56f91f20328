// SPDX-License-Identifier: Apache-2.0
// All kinds.
#pragma once

#include "rapport/kinds/attachment.hpp"
#include "rapport/kinds/code_list.hpp"
#include "rapport/kinds/complaint.hpp"
#include "rapport/kinds/contact.hpp"
#include "rapport/kinds/customer.hpp"
#include "rapport/kinds/loop_task.hpp"
#include "rapport/kinds/note.hpp"
#include "rapport/kinds/product.hpp"
#include "rapport/kinds/product_talk.hpp"
#include "rapport/kinds/product_wish.hpp"
#include "rapport/kinds/state_request.hpp"
#include "rapport/kinds/status_event.hpp"
#include "rapport/kinds/task.hpp"
#include "rapport/kinds/territory.hpp"
#include "rapport/kinds/theme.hpp"
#include "rapport/kinds/visit.hpp"
